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

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import normal, stack
from fusion_jax.nn.presence import only
from fusion_jax.plan import LayerPlan, Named
from fusion_jax.records import Array, Batch, Output, Target

PLACEMENTS = ("before", "after", "interleaved", "decision")
MISSING = ("mask", "zeros", "mean", "learned")
PRESENCE = ("received", "own")
HEADS = ("linear", "none")
ACTIVATIONS = {"relu": jax.nn.relu, "elu": jax.nn.elu}
Tap = Callable[[str, Array], Array]


def untouched(name: str, state: Array) -> Array:
    """The tap that changes nothing."""
    del name
    return state


class Streams(nnx.Module):
    """One graph layer a modality: x [N, M, D] -> [N, M, D'], every stream with weights of its own.

    Streams that share an edge set run as one `vmap`, so that one sparse product serves all of them; streams
    with edge sets of their own (`graph.views`) run one after another. `make(rngs)` builds the layer of one stream.
    """

    def __init__(self, make: Callable[[nnx.Rngs], nnx.Module], modalities: int, *, rngs: nnx.Rngs):
        self.layers = stack(make, modalities, rngs)
        self.modalities = modalities

    def __call__(
        self, x: Array, graph: Graph | None, present: Array | None = None, *, key: Array | None = None
    ) -> Array:
        """x [N, M, D] -> [N, M, D']; `present` bool [N, M] says who has something in each stream, all if None."""
        keys = split_key(key, self.modalities)
        if graph is None or not graph.views:

            def run(layer, x, present, key):
                return layer(x, graph, present, key=key)

            axes = (0, 1, None if present is None else 1, None if key is None else 0)
            return jax.vmap(run, axes, 1)(self.layers, x, present, None if key is None else jnp.stack(keys))
        outs = []
        for m, k in enumerate(keys):
            layer = jax.tree.map(lambda a, m=m: a[m], self.layers)
            outs.append(layer(x[:, m], graph.view(m), None if present is None else present[:, m], key=k))
        return jnp.stack(outs, axis=1)

    def reached(self, present: Array, graph: Graph | None) -> Array:
        """bool [N, M]: who has something in each stream behind the layer."""
        if graph is None or not graph.views:
            return self.layers.reached(present, graph)
        return jnp.stack([self.layers.reached(present[:, m], graph.view(m)) for m in range(self.modalities)], axis=1)


class Model(nnx.Module):
    """Features of N nodes and their graph -> `Output`.

    Args:
        feature_dims: {modality: d_m}, in order.
        target: what is predicted (its kind, number of outputs and level are read, not its labels).
        dim: D, width of what encoders and layers return; the encoder `identity` returns the features' own.
        placement: see the module.
        encoder, fusion, layer, readout: names and options of the mechanisms.
        layers: L, number of graph layers.
        head: "linear", a linear map to the outputs with dropout before it; or "none", the last graph layer gives the
            outputs, and neither activation nor dropout follows (node tasks, placements `before` and `decision`).
        activation: "relu" or "elu", behind every graph layer but one that predicts.
        missing: what stands for a missing modality. "mask": nothing, the fusion sees the mask (where it concatenates,
            it puts 0 itself: before message passing as "zeros" does); "zeros": the vector 0 after encoding; "mean": the
            encoder's image of 0, which is the training mean of standardised features (`data.scale` "column" or
            "modality"); "learned": a learned vector a modality. With the last three every node has everything: it is
            sent to neighbours and seen by the fusion.
        presence: with "mask", which modalities a fusion sees as present behind message passing. "received": those the
            node had and those of which it has received something, so that what neighbours say of a missing modality
            is used; "own": only those the node itself had. Messages are the same but where `interleaved` fusions, which
            return nothing for what they do not see, stand between them. A node with none is absent in the
            fused stream too, until it receives something.
        rate: dropout before every graph layer and before the head.
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
        rngs: nnx.Rngs,
    ):
        self.names = tuple(feature_dims)
        self.placement, self.missing, self.presence, self.rate = placement, missing, presence, rate
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
        if placement == "decision" and level == "graph":
            raise ValueError("placement 'decision' is defined for node tasks: it fuses the predictions of one node")
        if head == "none":
            check_no_head(placement, layers, readout.name)
        widths = [_encoded_width(encoder.name, feature_dims, dim)] + layers * [dim]  # of the state at every depth
        if head == "none":
            widths[-1] = outputs

        def make_layer(i: int, rngs: nnx.Rngs) -> nnx.Module:
            options = {**layer.options, **(layer.last if i == layers - 1 else {})}
            out = () if widths[i] == widths[i + 1] else (widths[i + 1],)
            return zoo.make("layer", layer.name, widths[i], *out, options=options, rngs=rngs)

        self.encoders = nnx.List(
            [
                zoo.make("encoder", encoder.name, d, dim, options=encoder.options, rngs=rngs)
                for d in feature_dims.values()
            ]
        )
        self.missing_token = normal(rngs, (m, widths[0])) if missing == "learned" else None
        self.streams = nnx.List([Streams(functools.partial(make_layer, i), m, rngs=rngs) for i in range(per_stream)])
        fused = dict(before=widths[:1], after=widths[-1:], interleaved=widths, decision=[outputs])[placement]
        self.fusions = nnx.List(
            [zoo.make("fusion", fusion.name, m, width, options=fusion.options, rngs=rngs) for width in fused]
        )
        self.layers = nnx.List([make_layer(i, rngs) for i in range(fused_layers)])
        if head == "none":
            self.head = self.readout = None
        elif placement == "decision":
            self.head = stack(lambda rngs: nnx.Linear(widths[-1], outputs, rngs=rngs), m, rngs)
            self.readout = None
        else:
            self.head = nnx.Linear(widths[-1], outputs, rngs=rngs)
            read = widths if placement == "before" else widths[-1:]
            if zoo.get("readout", readout.name).last_only:
                read = read[-1:]
            if len(set(read)) > 1:
                raise ValueError(
                    f"readout {readout.name!r} reads the states of all depths, whose widths {read} differ: encoder "
                    f"{encoder.name!r} leaves the first at another width than model.dim={dim}"
                )
            self.readout = zoo.make("readout", readout.name, read[0], len(read), options=readout.options, rngs=rngs)

    def encode(self, batch: Batch, key: Array | None) -> tuple[Array, Array]:
        """The modalities at width D, [N, M, D], and who has something of them, bool [N, M].

        Raises:
            ValueError: the batch has other modalities, or the same in another order.
        """
        if batch.names != self.names:
            raise ValueError(f"the model is of the modalities {list(self.names)}, the batch of {list(batch.names)}")
        keys = split_key(key, len(self.names))
        # rows that stand for no node have nothing whatever the policy
        there = None if batch.graph is None else batch.graph.present
        encoded, present = [], []
        for m, (name, encoder) in enumerate(zip(self.names, self.encoders, strict=True)):
            view, own = None if batch.graph is None else batch.graph.view(m), batch.mask[:, m]
            # 0 is the training mean of standardised features: what policy "mean" wants, and NaN-safe for all
            x = jnp.where(own[:, None], batch.features[name], 0)
            encoded.append(encoder(x, view, own if self.missing == "mask" else there, key=keys[m]))
            present.append(encoder.reached(own, view))
        x, mask = jnp.stack(encoded, axis=1), batch.mask
        if self.missing == "mask":
            present = jnp.stack(present, axis=1)
            return only(x, present), present
        if self.missing == "zeros":
            x = jnp.where(mask[..., None], x, 0)
        if self.missing == "learned":
            x = jnp.where(mask[..., None], x, self.missing_token[...].astype(x.dtype))
        return x, jnp.ones_like(mask) if there is None else jnp.broadcast_to(there[:, None], mask.shape)

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

    def encoder_losses(self, batch: Batch, key: Array | None) -> dict[str, Array]:
        """What the encoders add to the training loss, by name, summed over the modalities."""
        losses: dict[str, Array] = {}
        for m, (name, encoder) in enumerate(zip(self.names, self.encoders, strict=True)):
            x = jnp.where(batch.mask[:, m, None], batch.features[name], 0)
            own = None if key is None else jax.random.fold_in(key, m)
            _add(losses, encoder.losses(x, batch.mask[:, m], key=own))
        return losses

    def convolve(
        self, layer, h: Array, graph: Graph | None, present: Array | None, key: Array | None, predicts: bool = False
    ) -> tuple[Array, Array | None]:
        """Dropout, one graph layer (of one stream or of all), activation; and who has something behind it.

        Args:
            present: bool [N, ...], who has something in h; None where all do, and stay so.
            predicts: the layer gives the outputs: no activation.
        """
        first, second = split_key(key, 2)
        h = layer(dropout(h, self.rate, first), graph, present, key=second)
        h = h if predicts else ACTIVATIONS[self.activation](h)
        present = self.behind(layer, present, graph)
        return only(h, present), present

    def __call__(self, batch: Batch, *, key: Array | None = None, tap: Tap = untouched) -> Output:
        """Predictions for all nodes (or graphs); `key` is the randomness of training, None in evaluation.

        `tap` sees, and may replace, the states on the way, by name: "encoder" [N, M, D], "stream 1" ...
        [N, M, D], "fusion" [N, D], "layer 1" ... [N, D].
        """
        encode_key, fuse_key, layer_key, read_key = split_key(key, 4)
        graph = batch.graph
        x, mask = self.encode(batch, encode_key)
        x = tap("encoder", x)
        present, seen = self.senders(mask, graph), self.seen(mask, batch)
        stream_keys = split_key(layer_key, len(self.streams))
        fuse_keys = split_key(fuse_key, len(self.fusions))
        losses = self.encoder_losses(batch, encode_key)

        h = x
        for i, streams in enumerate(self.streams):
            if self.placement == "interleaved":
                fused = self.fusions[i](h, seen, graph, key=fuse_keys[i])
                _add(losses, fused.losses)
                h, present = fused.tokens, self.senders(seen, graph)
            predicts = self.head is None and i + 1 == len(self.streams)
            h, present = self.convolve(streams, h, graph, present, stream_keys[i], predicts)
            h = tap(f"stream {i + 1}", h)
            seen = seen if present is None else self.seen(present, batch)

        if self.placement == "decision":
            predictions = h
            if self.head is not None:
                predictions = jax.vmap(lambda head, h: head(h), (0, 1), 1)(self.head, dropout(h, self.rate, read_key))
            fused = self.fusions[-1](predictions, seen, graph, key=fuse_keys[-1])
            _add(losses, fused.losses)
            return Output(fused.out, predictions, x, None, mask, fused.weights, losses, fused.uncertainty, seen)

        fused = self.fusions[-1](h, seen, graph, key=fuse_keys[-1])
        _add(losses, fused.losses)
        h = tap("fusion", fused.out)
        present = None if present is None else seen.any(1)
        history = [h]
        for i, (layer, k) in enumerate(zip(self.layers, split_key(layer_key, len(self.layers)), strict=True)):
            predicts = self.head is None and i + 1 == len(self.layers)
            h, present = self.convolve(layer, h, graph, present, k, predicts)
            h = tap(f"layer {i + 1}", h)
            history.append(h)
        if self.head is None:
            return Output(h, None, x, history[-2], mask, fused.weights, losses, present=seen)
        first, second = split_key(read_key, 2)
        if graph is not None and present is not None:
            graph = dataclasses.replace(graph, present=present)
        read = history[-1:] if self.readout.last_only else history
        hidden = self.readout(jnp.stack(read, axis=1), graph, key=first)
        prediction = self.head(dropout(hidden, self.rate, second))
        return Output(prediction, None, x, hidden, mask, fused.weights, losses, present=seen)


def _add(losses: dict[str, Array], more: Mapping[str, Array]) -> None:
    for name, value in more.items():
        losses[name] = losses[name] + value if name in losses else value


def _encoded_width(encoder: str, feature_dims: Mapping[str, int], dim: int) -> int:
    """The one width of all encoded modalities.

    Raises:
        ValueError: they have several; names them.
    """
    kind = zoo.get("encoder", encoder)
    widths = {name: kind.width(d, dim) for name, d in feature_dims.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(
            f"encoder {encoder!r} leaves the modalities at the widths {widths}, a fusion needs one: name an encoder, "
            "such as 'linear', or one modality"
        )
    return next(iter(widths.values()))


def check_no_head(placement: str, layers: int, readout: str):
    """Raises ValueError where head "none" does not exist: where no graph layer gives one prediction a node."""
    where = "model.head='none': the last graph layer predicts, so that"
    if placement not in ("before", "decision"):
        raise ValueError(f"{where} fusion stands before the layers or fuses predictions, not {placement!r}")
    if layers < 1:
        raise ValueError(f"{where} there must be one, found model.layers={layers}")
    if readout != "last":
        raise ValueError(f"{where} nothing reads states, found the readout {readout!r}; it exists for node tasks only")


def check_placement(fusion: str, placement: str):
    """The fusion's class, if it can stand there.

    Raises:
        ValueError: unknown placement, or one the mechanism cannot have; says which it can.
    """
    if placement not in PLACEMENTS:
        raise ValueError(f"placement {placement!r}{zoo.nearest(placement, PLACEMENTS)}; expected one of {PLACEMENTS}")
    mechanism = zoo.get("fusion", fusion)
    if placement not in mechanism.placements:
        why = " (it returns no tokens)" if placement == "interleaved" else ""
        raise ValueError(
            f"fusion {fusion!r} cannot stand {placement!r}{why}; its placements: {', '.join(mechanism.placements)}"
        )
    return mechanism
