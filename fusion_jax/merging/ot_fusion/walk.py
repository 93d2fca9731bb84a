"""The walk of OT-Fusion through a `Model`: what feeds what, and which map goes where.

Raw features carry no map. The encoder of modality m ends in a map T^(m) of its own; a fusion reads all of them; sums
over edges commute with a map of features, so that a graph layer is a dense layer whose neurons are what it returns; the
head is the last layer. What happens inside a mechanism it says itself (its `align`, in the words of `nn.alignment`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.layers.base import GraphLayer
from fusion_jax.merging.ot_fusion.rules import Rules, last, mapped, standardise, through
from fusion_jax.model import ACTIVATIONS, Model
from fusion_jax.nn.alignment import Alignment, Map, Pair, States, name_of, no_rule, put, read, write
from fusion_jax.nn.presence import zero_absent
from fusion_jax.readouts.base import Readout
from fusion_jax.records import Array, Batch

PLACEMENTS = ("before", "after")
ATTENTION = dict(q="query", k="key", v="value")


class Walk(Alignment):
    """One alignment: the rules and which rows are probed.

    Args:
        rules: see `rules`.
        batch: what both models see.
        nodes: bool [N], nodes whose activations may be looked at.
        samples: how many activations are compared at most.
        seed: of their choice.
    """

    name = "ot_fusion"

    def __init__(self, rules: Rules, batch: Batch, nodes: np.ndarray, samples: int, seed: int):
        self.rules, self.batch, self.samples, self.seed = rules, batch, samples, seed
        self.nodes = np.asarray(nodes)

    def probe(self, y: Pair, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = np.flatnonzero(rows)
        if found.size < 2:
            raise ValueError(f"ot_fusion compares activations of training nodes: {found.size} is too few")
        if found.size > self.samples:
            found = np.sort(np.random.default_rng(self.seed).choice(found, self.samples, replace=False))
        return tuple(standardise(np.asarray(a).reshape(-1, a.shape[-1])[found]) for a in y)

    def neurons(self, kernels: Sequence[Pair], t_in: Map | None, y: Pair, rows: np.ndarray, heads: int = 1) -> Map:
        own, anchor = ([np.asarray(k[...], np.float64) for k in side] for side in zip(*kernels, strict=True))
        joined = np.concatenate([through(t_in, k) for k in own]), np.concatenate(anchor)
        t_out = self.rules.map(joined, self.probe(y, rows), heads)
        for (variable, _), kernel in zip(kernels, own, strict=True):
            put(variable, mapped({"kernel": kernel}, t_in, t_out)["kernel"])
        return t_out

    def linear(self, layers: Pair, t_in: Map | None, x: Pair, rows: np.ndarray) -> tuple[Map, Pair]:
        y = tuple(layer(a) for layer, a in zip(layers, x, strict=True))
        aligned, t_out = self.rules.dense(*map(read, layers), t_in, self.probe(y, rows))
        write(layers[0], aligned)
        return t_out, y

    def mlp(self, mlps: Pair, t_in: Map | None, x: Pair, rows: np.ndarray) -> tuple[Map, Pair]:
        t, hidden = self.linear(tuple(m.fc1 for m in mlps), t_in, x, rows)
        hidden = tuple(m.activation(h) for m, h in zip(mlps, hidden, strict=True))
        return self.linear(tuple(m.fc2 for m in mlps), t, hidden, rows)

    def attention(
        self,
        parts: Pair,
        t_in: Map,
        x: Pair,
        rows: np.ndarray,
        queries: Pair | None = None,
        asking: np.ndarray | None = None,
    ) -> Map:
        if queries is not None and self.rules.qk == "joint":
            name = name_of(parts[1])
            raise ValueError(f"ot_fusion: qk='joint' compares Q and K row by row; {name} has one query a node")
        read_by = dict(q=(x, rows) if queries is None else (queries, asking), k=(x, rows), v=(x, rows))
        acts = {}
        for n, (inputs, at) in read_by.items():
            y = tuple(getattr(p, ATTENTION[n])(a) for p, a in zip(parts, inputs, strict=True))
            acts[n] = self.probe(y, at)
        blocks = [{n: read(getattr(p, long)) for n, long in ATTENTION.items()} for p in parts]
        aligned, t_out = self.rules.attention(*blocks, t_in, acts)
        for n, long in ATTENTION.items():
            write(getattr(parts[0], long), aligned[n])
        return t_out

    def encoder(self, layers: Pair, t: Map, outputs: Mapping[str, Pair], rows: np.ndarray, heads: int) -> Map:
        acts: dict[str, Any] = {n: self.probe(y, rows) for n, y in outputs.items()}
        before = acts.pop("before")[1]
        acts["attended"] = acts["o"][1]
        aligned, t = self.rules.encoder(*map(_block, layers), t, acts, before, heads)
        for n, value in {**aligned.pop("attention"), **aligned}.items():
            write(layers[0][n], value)
        return t


def _block(layers: Mapping[str, nnx.Module]) -> dict[str, Any]:
    """The arrays of a block as the rules name them."""
    block = {n: read(layer) for n, layer in layers.items()}
    return {"attention": {n: block.pop(n) for n in "qkvo"}, **block}


def align(model0: Model, model1: Model, walk: Walk) -> Model:
    """A copy of model 0 in the anchor's coordinates.

    Raises:
        ValueError: a placement without a rule, or a mechanism that does not say how it is aligned, by name.
    """
    check(model1)
    aligned, batch, graph = nnx.clone(model0), walk.batch, walk.batch.graph
    models = aligned, model1
    (x0, mask), (x1, _) = (m.encode(batch) for m in models)
    present = model1.senders(mask, graph)
    maps = [_encoder(walk, models, m) for m in range(len(model1.names))]
    if aligned.missing_token is not None:
        token = aligned.missing_token[...]
        put(aligned.missing_token, np.stack([np.asarray(token[m]) @ t for m, t in enumerate(maps)]))
    x = (x0, x1)
    for streams in zip(*(m.streams for m in models), strict=True):
        maps, x, present = _streams(walk, model1, streams, maps, x, present)
    seen = model1.seen(mask if present is None else present, batch)
    t, h = _fusion(walk, tuple(m.fusions[-1] for m in models), maps, x, seen)
    present = None if present is None else model1.fusions[-1].reached(seen, graph)
    maps, history = [t], [h]
    for layers in zip(*(m.layers for m in models), strict=True):
        t, h, present = _layer(walk, model1, layers, maps[-1], history[-1], graph, present)
        maps.append(t)
        history.append(h)
    write(aligned.head, last(read(aligned.head), _readout(walk, models, maps, history, present)))
    return aligned


def check(model: Model) -> None:
    """Raises ValueError where the walk has no way through the model, before anything is computed."""
    if model.placement not in PLACEMENTS:
        raise ValueError(f"ot_fusion walks the placements {PLACEMENTS}, this cell's is {model.placement!r}")
    if model.head is None:
        raise ValueError("ot_fusion has no rule for a model whose last graph layer predicts (model.head='none')")
    if model.mixed:
        raise ValueError(
            "ot_fusion has no rule for a model with simple attentions (model.mixer.name is not 'standard')"
        )
    for kind, base, parts in (
        ("encoder", Encoder, model.encoders),
        ("fusion", Fusion, model.fusions),
        ("layer", GraphLayer, [*model.layers, *(streams.layers for streams in model.streams)]),
        ("readout", Readout, [model.readout]),
    ):
        for part in parts:
            if type(part).align is base.align:
                raise no_rule(Walk, kind, base, part)


def _both(modules: Pair, x: Pair, call: Callable[[Any, Array], Array]) -> Pair:
    return tuple(call(module, a) for module, a in zip(modules, x, strict=True))


def _encoder(walk: Walk, models: Pair, m: int) -> Map:
    name, present = models[1].names[m], walk.batch.mask[:, m]
    graph = None if walk.batch.graph is None else walk.batch.graph.view(m)
    x = jnp.where(present[:, None], walk.batch.features[name], 0)
    encoders = tuple(model.encoders[m] for model in models)
    y = _both(encoders, (x, x), lambda encoder, a: encoder(a, graph, present))
    states = States((x, x), y, present, _rows(walk, present), graph)
    return encoders[0].align(encoders[1], walk, states)


def _streams(walk: Walk, model: Model, streams: Pair, maps: list[Map], x: Pair, present: Array | None):
    """One graph layer a modality, each with a map of its own; `present` is who has something in each, or None."""
    outs, slices, after = [], [], []
    for m, t in enumerate(maps):
        layers = tuple(jax.tree.map(lambda a, m=m: a[m], s.layers) for s in streams)
        graph = walk.batch.graph.view(m)
        own = None if present is None else present[:, m]
        t, h, own = _layer(walk, model, layers, t, tuple(a[:, m] for a in x), graph, own)
        after.append(own)
        maps[m] = t
        outs.append(h)
        slices.append(layers[0])
    streams[0].layers = jax.tree.map(lambda *a: jnp.stack(a), *slices)
    present = None if present is None else jnp.stack(after, axis=1)
    return maps, tuple(jnp.stack(a, axis=1) for a in zip(*outs, strict=True)), present


def _fusion(walk: Walk, fusions: Pair, maps: list[Map], x: Pair, mask: Array) -> tuple[Map, Pair]:
    graph = walk.batch.graph
    h = _both(fusions, x, lambda fusion, a: fusion(a, mask, graph).out)
    states = States(x, h, mask, walk.nodes[:, None] & np.asarray(mask), graph)
    return fusions[0].align(fusions[1], walk, maps, states), h


def _layer(walk: Walk, model: Model, layers: Pair, t_in: Map, x: Pair, graph: Graph, present: Array | None):
    """A graph layer and the activation behind it: its neurons are the features it returns, before the activation."""
    y, before = _both(layers, x, lambda layer, a: layer(a, graph, present)), present
    present = model.behind(layers[1], present, graph)
    t = layers[0].align(layers[1], walk, t_in, States(x, y, before, _rows(walk, present), graph))
    return t, tuple(zero_absent(ACTIVATIONS[model.activation](a), present) for a in y), present


def _readout(walk: Walk, models: Pair, maps: list[Map], history: list[Pair], present: Array | None) -> Map:
    readouts, graph = tuple(m.readout for m in models), walk.batch.graph
    if graph is not None and present is not None:
        graph = dataclasses.replace(graph, present=present)
    first = -1 if readouts[1].last_only else 0
    x = tuple(jnp.stack(h, axis=1) for h in zip(*history[first:], strict=True))
    y = _both(readouts, x, lambda readout, a: readout(a, graph).out)
    return readouts[0].align(readouts[1], walk, maps[first:], States(x, y, present, _rows(walk, present), graph))


def _rows(walk: Walk, present: Array | None) -> np.ndarray:
    return walk.nodes if present is None else walk.nodes & np.asarray(present)
