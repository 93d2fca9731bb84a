"""The one model: encoders -> fusion and graph layers in the configured order -> readout -> head.

Where fusion stands relative to message passing is the `placement`:

    before       encode, fuse, then L graph layers on the fused stream
    after        encode, L graph layers on each modality's own stream, then fuse
    interleaved  encode, then L times (fuse to tokens, one graph layer a stream), then fuse
    decision     encode, L graph layers and a head on each stream, then fuse the predictions

Who has a modality is known all the way: a node that lacks it sends nothing in that modality's stream and counts for
nothing there. It still receives; from then on it has something in that stream, and passes it on. Whether the fusion
sees that too is the model's `presence`.

The standard graph networks of the literature are the encoder `identity` (no encoder) and head "none": the layers lead
from the width of the features over D to the outputs, and the last one predicts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax import keys, zoo
from fusion_jax.graphs import Graph
from fusion_jax.mixers.base import LAYERS
from fusion_jax.model import filling, mixed
from fusion_jax.model.choices import (
    ACTIVATIONS,
    HEADS,
    MISSING,
    PLACEMENTS,
    PRESENCE,
    check_fusion_predicts,
    check_no_head,
    check_placement,
    encoded_width,
)
from fusion_jax.model.mixed import PARTS, skipped
from fusion_jax.model.said import Said
from fusion_jax.model.streams import Streams
from fusion_jax.nn.dropout import dropout
from fusion_jax.nn.init import normal, stack
from fusion_jax.nn.presence import zero_absent
from fusion_jax.plan import LayerPlan, MixerPlan, Named
from fusion_jax.records import (
    EVALUATION,
    Array,
    Batch,
    Context,
    Fused,
    Output,
    Target,
    check_needs,
    needs_of,
)
from fusion_jax.structures.base import Structure

__all__ = [
    "ACTIVATIONS",
    "HEADS",
    "LAYERS",
    "MISSING",
    "PARTS",
    "PLACEMENTS",
    "PRESENCE",
    "Model",
    "Streams",
    "check_fusion_predicts",
    "check_no_head",
    "check_placement",
    "skipped",
]

STANDARD = MixerPlan()
Tap = Callable[[str, Array], Array]


def untouched(name: str, state: Array) -> Array:
    """The tap that changes nothing."""
    del name
    return state


class Model(nnx.Module):
    """Features of N nodes and their graph -> `Output`.

    Args:
        feature_dims: {modality: d_m}, in order.
        target: what is predicted (its kind, number of outputs and level are read, not its labels).
        dim: D, width of what encoders and layers return; the encoder `identity` returns the features' own.
        placement: see the module.
        encoder, fusion, layer, readout: names and options of the mechanisms.
        layers: L, number of graph layers.
        head: "linear", a linear map to the outputs with dropout before it; "none", the last graph layer gives the
            outputs, and neither activation nor dropout follows (node tasks, placements `before` and `decision`); or
            "fusion", the last fusion predicts itself (node tasks, placements `after` and `interleaved`).
        activation: "relu" or "elu", behind every graph layer but one that predicts.
        missing: what stands for a missing modality. "mask": nothing, the fusion sees the mask (where it concatenates,
            it puts 0 itself: before message passing as "zeros" does); "zeros": the vector 0 after encoding; "mean": the
            encoder's image of 0, which is the training mean of standardised features (`data.scale` "column" or
            "modality"); "learned": a learned vector a modality; "indicator": the encoder's image of 0 and of one more
            column, which is 1 where the modality is missing and 0 elsewhere; "propagate": the encoder's image of what
            the neighbours that have it say (`nn.feature_propagation`), of the graph that the model sees. With all but
            the first every node has everything: it is sent to neighbours and seen by the fusion.
        presence: with "mask", which modalities a fusion sees as present behind message passing. "received": those the
            node had and those of which it has received something, so that what neighbours say of a missing modality
            is used; "own": only those the node itself had. Messages are the same but where `interleaved` fusions, which
            return nothing for what they do not see, stand between them. A node with none is absent in the
            fused stream too, until it receives something.
        rate: dropout before every graph layer and before the head, unless the context of a call tells another; a
            layer that is a whole block has its own.
        mixer: what stands in the place of softmax attention in the fusions, or in the graph layers (placement `before`
            only), and in which of their attentions, counted through all of them in order.
    Raises:
        ValueError: unknown names or options, or a combination that does not exist, by name.
    """

    def __init__(
        self,
        feature_dims: Mapping[str, int],
        target: Target,
        *,
        dim: int,
        placement: str,
        encoder: Named,
        fusion: Named,
        layer: LayerPlan,
        readout: Named,
        layers: int = 2,
        missing: str = "mask",
        presence: str = "received",
        head: str = "linear",
        activation: str = "relu",
        rate: float = 0.0,
        mixer: MixerPlan = STANDARD,
        rngs: nnx.Rngs,
    ):
        self.names = tuple(feature_dims)
        self.placement, self.missing, self.presence, self.rate = placement, missing, presence, rate
        self.head_kind = head
        m, outputs = len(self.names), target.num_outputs
        self.activation = activation
        check_placement(fusion.name, placement)
        for name, value, known in (
            ("missing", missing, MISSING),
            ("presence", presence, PRESENCE),
            ("head", head, HEADS),
            ("activation", activation, tuple(ACTIVATIONS)),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r}{zoo.nearest(value, known)}; expected one of {known}")
        per_stream = 0 if placement == "before" else layers
        fused_layers = layers if placement == "before" else 0
        level = zoo.get("readout", readout.name).level
        if level != target.level:
            raise ValueError(f"readout {readout.name!r} is for {level} tasks, this data set labels {target.level}s")
        if placement == "decision" and level != "node":
            raise ValueError("placement 'decision' is defined for node tasks: it fuses the predictions of one node")
        if head == "none":
            check_no_head(placement, layers, readout.name)
        if head == "fusion":
            check_fusion_predicts(fusion.name, placement, readout.name)
        given_dims = filling.given_widths(missing, feature_dims)
        widths = [encoded_width(encoder.name, given_dims, dim)] + layers * [dim]  # of the state at every depth
        if head == "none":
            widths[-1] = outputs
        self.encoded = widths[0]  # the width of embeddings

        def make_layer(i: int, rngs: nnx.Rngs) -> nnx.Module:
            options = {**layer.options, **(layer.last if i == layers - 1 else {})}
            out = () if widths[i] == widths[i + 1] else (widths[i + 1],)
            return zoo.make("layer", layer.name, widths[i], *out, options=options, rngs=rngs)

        self.encoders = nnx.List(
            [zoo.make("encoder", encoder.name, d, dim, options=encoder.options, rngs=rngs) for d in given_dims.values()]
        )
        self.missing_token = normal(rngs, (m, widths[0])) if missing == "learned" else None
        self.streams = nnx.List([Streams(functools.partial(make_layer, i), m, rngs=rngs) for i in range(per_stream)])
        fused = dict(before=widths[:1], after=widths[-1:], interleaved=widths, decision=[outputs])[placement]
        needs = zoo.get("fusion", fusion.name).info.needs
        told = {k: v for k, v in dict(outputs=outputs, targets=target.widths).items() if k in needs}
        make_fusions = [functools.partial(_make_fusion, fusion, m, width, told) for width in fused]
        make_layers = [functools.partial(make_layer, i) for i in range(fused_layers)]
        if mixer.part not in PARTS:
            raise ValueError(f"mixer.part={mixer.part!r}{zoo.nearest(mixer.part, PARTS)}; expected one of {PARTS}")
        if mixer.part == "layer" and mixer.name != "standard" and placement != "before":
            raise ValueError(f"mixer.part='layer' is for the placement 'before', not {placement!r}")
        fits = dict.fromkeys(PARTS)
        self.mixed_part, self.mixed, mixed_widths = mixer.part, (), []
        if mixer.name != "standard":
            mixed_widths = fused if mixer.part == "fusion" else widths[:fused_layers]
            makes = make_fusions if mixer.part == "fusion" else make_layers
            own = m if mixer.part == "fusion" else 0
            fits[mixer.part] = mixed.fit(mixer, makes, mixed_widths, own, target)
            self.mixed = tuple(tuple(sorted(chosen)) for chosen in fits[mixer.part].chosen)
        self.fusions = nnx.List([mixed.build(fits["fusion"], i, make, rngs) for i, make in enumerate(make_fusions)])
        self.layers = nnx.List([mixed.build(fits["layer"], i, make, rngs) for i, make in enumerate(make_layers)])
        if head in ("none", "fusion"):
            self.head = self.readout = None
        elif placement == "decision":
            self.head = stack(lambda rngs: nnx.Linear(widths[-1], outputs, rngs=rngs), m, rngs)
            self.readout = None
        else:
            self.head = nnx.Linear(zoo.get("readout", readout.name).width(widths[-1]), outputs, rngs=rngs)
            read = widths if placement == "before" else widths[-1:]
            if zoo.get("readout", readout.name).last_only:
                read = read[-1:]
            if len(set(read)) > 1:
                raise ValueError(
                    f"readout {readout.name!r} reads the states of all depths, whose widths {read} differ: encoder "
                    f"{encoder.name!r} leaves the first at another width than model.dim={dim}"
                )
            read_told = dict(outputs=outputs) if "outputs" in zoo.get("readout", readout.name).info.needs else {}
            self.readout = zoo.make(
                "readout", readout.name, read[0], len(read), options=readout.options, rngs=rngs, **read_told
            )
        # last, so that all else starts from the numbers that it has without a mixer
        held = m if mixer.part == "fusion" else 1
        self.mixers = nnx.List([mixed.make_mixer(mixer, held, width, rngs) for width in mixed_widths])

    def structures(self) -> tuple[tuple[Structure, ...], tuple[Structure, ...]]:
        """What its mechanisms read of a graph beside its edges, each once: of the edge set that the modalities share,
        and of the one each modality works on. A fusion may look at both."""
        streams = [streams.layers for streams in self.streams]
        own = [each for each in (*self.layers, self.readout) if each is not None]
        found = []
        for mechanisms in ((*self.fusions, *own), (*self.encoders, *self.fusions, *streams)):
            declared = [structure for mechanism in mechanisms for structure in mechanism.structures]
            found.append(tuple(dict.fromkeys(declared)))
        return found[0], found[1]

    def encode(self, batch: Batch, context: Context = EVALUATION) -> tuple[Array, Array]:
        """The modalities at width D, [N, M, D], and who has something of them, bool [N, M].

        Raises:
            ValueError: the batch has other modalities, or the same in another order.
        """
        if batch.names != self.names:
            raise ValueError(f"the model is of the modalities {list(self.names)}, the batch of {list(batch.names)}")
        # rows that stand for no node have nothing whatever the policy
        there = None if batch.graph is None else batch.graph.present
        calls = list(self._to_encoders(batch, context))
        encoded = [encoder(*given) for encoder, given in calls]
        x, mask = jnp.stack(encoded, axis=1), batch.mask
        if self.missing == "mask":
            reached = [encoder.reached(mask[:, m], view) for m, (encoder, (_, view, *_)) in enumerate(calls)]
            present = jnp.stack(reached, axis=1)
            return zero_absent(x, present), present
        if self.missing == "zeros":
            x = jnp.where(mask[..., None], x, 0)
        if self.missing == "learned":
            x = jnp.where(mask[..., None], x, self.missing_token[...].astype(x.dtype))
        return x, jnp.ones_like(mask) if there is None else jnp.broadcast_to(there[:, None], mask.shape)

    def _to_encoders(self, batch: Batch, context: Context):
        """Every encoder and what it is called with: x, the modality's edge set, who is present, the context."""
        there = None if batch.graph is None else batch.graph.present
        contexts = context.split(len(self.names))
        for m, (name, encoder, own) in enumerate(zip(self.names, self.encoders, contexts, strict=True)):
            mask = batch.mask[:, m]
            view = None if batch.graph is None else batch.graph.view(m)
            if encoder.reads_sparse and name in batch.sparse and self.missing not in filling.FILLING:
                x = batch.sparse[name].among(mask)
            else:
                x = filling.given(self.missing, batch.features[name], mask, view)
            yield encoder, (x, view, mask if self.missing == "mask" else there, _told("encoder", encoder, view, own))

    def _hear_encoders(self, batch: Batch, context: Context, said: Said) -> None:
        """What the encoders attend to, show and add to the training loss; losses of a name are summed."""
        for m, (encoder, given) in enumerate(self._to_encoders(batch, context)):
            said.attend(f"encoder {self.names[m]}", encoder.attention(*given))
            said.show(f"encoder {self.names[m]}", encoder.states(*given))
            key = None if context.key is None else keys.fold_in(context.key, m)
            said.add(encoder.losses(given[0], batch.mask[:, m], dataclasses.replace(given[-1], key=key)))

    def senders(self, present: Array, graph: Graph | None) -> Array | None:
        """`present` where message passing has to ask who is there; None where the policy fills every gap."""
        absent_rows = graph is not None and graph.present is not None
        return present if self.missing == "mask" or absent_rows else None

    def behind(self, layer, present: Array | None, graph: Graph | None) -> Array | None:
        """Who has something behind a graph layer (of one stream or of all) of those `present` before it."""
        return layer.reached(present, graph) if self.missing == "mask" and present is not None else present

    def seen(self, present: Array, batch: Batch) -> Array:
        """The modalities that a fusion sees as present, bool [N, M], of those the nodes have something of."""
        return batch.mask if self.missing == "mask" and self.presence == "own" else present

    def mixing(self, part: str, i: int, mechanism, again: Callable, x: Array) -> contextlib.AbstractContextManager:
        """Within it attentions of the i-th mechanism of that part weigh as the mixer says; see `mixed.mixed`."""
        if part != self.mixed_part or not self.mixed:
            return contextlib.nullcontext()
        return mixed.mixed(mechanism, self.mixers[i], frozenset(self.mixed[i]), again, x)

    def drop(self, h: Array, context: Context) -> Array:
        """Dropout at the rate that the context tells, else at the model's own."""
        told = None if context.numbers is None else context.numbers.rate
        return dropout(h, self.rate if told is None else told, context.key)

    def convolve(
        self,
        layer,
        h: Array,
        graph: Graph | None,
        present: Array | None,
        context: Context,
        said: Said,
        place: str,
        predicts: bool = False,
        number: int = 0,
    ) -> tuple[Array, Array | None]:
        """Dropout, one graph layer (of one stream or of all), activation; and who has something behind it.

        Args:
            present: bool [N, ...], who has something in h; None where all do, and stay so.
            place: of the layer, for the names of what it says.
            predicts: the layer gives the outputs: no activation.
            number: of the layer among `layers`.
        """
        first, second = context.split(2)
        one = layer.layers if isinstance(layer, Streams) else layer
        edges = graph if graph is None or one is layer else graph.view(0)
        h = h if one.whole_block else self.drop(h, first)
        told = _told("layer", one, edges, second)
        given = h, graph, present, told

        def again(layer, h: Array) -> Array:
            return layer(h, graph, present, dataclasses.replace(told, key=None))

        def mixing():
            return self.mixing("layer", number, layer, again, h)

        if isinstance(layer, Streams):
            for name, attention in zip(self.names, layer.attention(*given), strict=True):
                said.attend(f"{place} modality {name}", attention)
        else:
            with mixing():
                said.attend(place, layer.attention(*given))
        with mixing():
            said.add(layer.losses(*given))
        with mixing():
            h = layer(*given)
        h = h if predicts or one.whole_block else ACTIVATIONS[self.activation](h)
        present = self.behind(layer, present, graph)
        return zero_absent(h, present), present

    def __call__(self, batch: Batch, *, context: Context = EVALUATION, tap: Tap = untouched) -> Output:
        """Predictions for all nodes (or graphs).

        Args:
            context: randomness, epoch and labels of training; the default is evaluation.
            tap: sees, and may replace, the states on the way, by name: "encoder" [N, M, D], "stream 1" ...
                [N, M, D], "fusion" [N, D], "layer 1" ... [N, D].
        Raises:
            ValueError: the batch has other modalities, or the same in another order; or something that a mechanism
                needs is not there.
        """
        return self._run(batch, context, tap)

    def begin(self, batch: Batch, context: Context = EVALUATION) -> None:
        """Lets every fusion begin, with what it sees of the batch: once a seed, before training."""
        self._run(batch, context, untouched, begins=True)

    def _run(self, batch: Batch, context: Context, tap: Tap, begins: bool = False) -> Output:
        encode_context, fuse_context, layer_context, read_context = context.split(4)
        graph, said = batch.graph, Said()
        x, mask = self.encode(batch, encode_context)
        self._hear_encoders(batch, encode_context, said)
        x = tap("encoder", x)
        present, seen = self.senders(mask, graph), self.seen(mask, batch)
        fuse_contexts = fuse_context.split(len(self.fusions))

        def fuse(i: int, h: Array, seen: Array) -> Fused:
            fusion = self.fusions[i]
            own = fuse_contexts[i].told(needs_of(fusion))
            if begins:
                fusion.begin(jnp.where(seen[..., None], h, 0), seen, graph, own)
                if self.mixed and self.mixed_part == "fusion":
                    self.mixers[i].begin(jnp.where(seen[..., None], h, 0), seen, _trained_on(context))

            def again(fusion, x: Array) -> Fused:
                everything = jnp.broadcast_to(seen.any(1, keepdims=True), seen.shape)
                return fusion(x, everything, graph, dataclasses.replace(own, key=None))

            with self.mixing("fusion", i, fusion, again, h):
                fused = fusion(h, seen, graph, own)
            if i < last or self.head_kind != "fusion":  # what follows goes on with
                field = "out" if i == last else "tokens"
                _check_width(fusion, field, getattr(fused, field), h.shape[-1])
            said.fused(f"fusion {i + 1}", fused)
            return fused

        h, last = x, len(self.fusions) - 1
        for i, (streams, own) in enumerate(zip(self.streams, layer_context.split(len(self.streams)), strict=True)):
            if self.placement == "interleaved":
                h, present = fuse(i, h, seen).tokens, self.senders(seen, graph)
            predicts = self.placement == "decision" and self.head is None and i + 1 == len(self.streams)
            h, present = self.convolve(streams, h, graph, present, own, said, f"stream {i + 1}", predicts)
            h = tap(f"stream {i + 1}", h)
            graph, batch, *held = _inward(graph, batch, h, present, seen, x, mask)
            h, present, seen, x, mask = held
            seen = seen if present is None else self.seen(present, batch)

        def output(prediction: Array, hidden: Array | None, streams: Array | None = None) -> Output:
            return Output(
                prediction,
                streams,
                embeddings=x,
                hidden=hidden,
                mask=mask,
                present=seen,
                tokens=tuple(said.tokens),
                history=tuple(said.history),
                attention=tuple(said.attention),
                states=tuple(said.states),
                heads=tuple(said.heads),
                losses=said.losses,
                uncertainty=said.uncertainty,
                evidence=said.evidence,
                revealed=said.revealed,
            )

        if self.placement == "decision":
            predictions = h
            if self.head is not None:
                dropped = self.drop(h, read_context)
                predictions = jax.vmap(lambda head, h: head(h), (0, 1), 1)(self.head, dropped)
            return output(fuse(last, predictions, seen).out, None, predictions)

        fused = fuse(last, h, seen)
        h = tap("fusion", fused.out)
        if self.head_kind == "fusion":
            if fused.prediction is None:
                raise ValueError(f"model.head='fusion': fusion {zoo.name_of(self.fusions[last])!r} predicts nothing")
            return output(fused.prediction, h)
        present = None if present is None else self.fusions[last].reached(seen, graph)
        history = [h]
        for i, (layer, own) in enumerate(zip(self.layers, layer_context.split(len(self.layers)), strict=True)):
            predicts = self.head is None and i + 1 == len(self.layers)
            if begins and self.mixed and self.mixed_part == "layer":
                there = jnp.ones(len(h), bool) if present is None else present
                self.mixers[i].begin(zero_absent(h, there)[:, None], there[:, None], _trained_on(context))
            h, present = self.convolve(layer, h, graph, present, own, said, f"layer {i + 1}", predicts, i)
            graph, batch, *held = _inward(graph, batch, h, present, seen, x, mask)
            h, present, seen, x, mask = held
            h = tap(f"layer {i + 1}", h)
            history.append(h)
        if self.head is None:
            return output(h, history[-2])
        first, second = read_context.split(2)
        if graph is not None and present is not None:
            graph = dataclasses.replace(graph, present=present)
        if self.readout.level != "node":
            said.of_rows(graph)
        shown = history[-1:] if self.readout.last_only else history
        read = self.readout(jnp.stack(shown, axis=1), graph, _told("readout", self.readout, graph, first))
        rows = (h if self.readout.level == "node" else read.out).shape[0]  # a symbolic dimension is no int
        if jnp.shape(read.out) != (rows, self.head.in_features):
            raise ValueError(
                f"readout {zoo.name_of(self.readout)!r}: out has the shape {jnp.shape(read.out)}, expected a row a "
                f"{self.readout.level} and the width {self.head.in_features}"
            )
        said.attend("readout", read.attention)
        said.add(read.losses)
        said.head("readout", read.heads)
        return output(self.head(self.drop(read.out, second)), read.out)


def _inward(graph: Graph | None, batch: Batch, *held: Array | None) -> tuple:
    """What a model goes on with behind a graph layer: of a sampled neighbourhood all but its outermost nodes."""
    if graph is None or graph.inner is None:
        return graph, batch, *held
    count = graph.inner.num_nodes
    return graph.inner, batch.with_mask(batch.mask[:count]), *(a if a is None else a[:count] for a in held)


def _make_fusion(fusion: Named, modalities: int, width: int, told: Mapping, rngs: nnx.Rngs) -> nnx.Module:
    return zoo.make("fusion", fusion.name, modalities, width, options=fusion.options, rngs=rngs, **told)


def _trained_on(context: Context) -> Array | None:
    """bool [N], the nodes that are trained on; None where rows are no nodes, or it is not told."""
    return context.train if context.target is not None and context.target.level == "node" else None


def _check_width(fusion: nnx.Module, field: str, found: Array | None, width: int) -> None:
    if found is None or found.shape[-1] != width:
        shape = "is None" if found is None else f"has the shape {found.shape}"
        raise ValueError(
            f"fusion {zoo.name_of(fusion)!r}: {field} {shape}, expected the width {width} of what it is given"
        )


def _told(kind: str, mechanism: nnx.Module, graph: Graph | None, context: Context) -> Context:
    """The context that a mechanism is given, after a look whether what it needs is there."""
    needs = needs_of(mechanism)
    check_needs(f"{kind} {zoo.name_of(mechanism)!r}", needs, graph, context)
    return context.told(needs)
