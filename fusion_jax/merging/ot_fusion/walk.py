"""The walk of OT-Fusion through the parameters of a `Model`: what feeds what, and which map goes where.

Raw features carry no map. The encoder of modality m ends in a map T^(m) of its own; a fusion that concatenates
reads the block-diagonal of them, one that attends over modalities or averages them reads their mean (all
modalities share one width); sums over edges commute with a map of features, so that a graph layer is a dense
layer whose neurons are what it returns; the head is the last layer. Every function aligns a module of model 0 in
place and returns its map and the two models' outputs.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from flax import nnx

from fusion_jax.encoders.linear import Linear
from fusion_jax.encoders.mlp import Mlp
from fusion_jax.fusion import (
    concat_linear,
    concat_mlp,
    free_query,
    node_query,
    node_token,
    self_attention,
    single,
)
from fusion_jax.fusion import max as max_
from fusion_jax.fusion import mean as mean_
from fusion_jax.fusion import sum as sum_
from fusion_jax.graphs import Graph
from fusion_jax.layers.gat import GAT
from fusion_jax.layers.gcn import GCN
from fusion_jax.layers.none import None_
from fusion_jax.layers.sage import Sage
from fusion_jax.merging.ot_fusion.rules import Rules, last, mapped, norm, standardise
from fusion_jax.model import ACTIVATIONS, Model
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.presence import only
from fusion_jax.readouts.last import Last
from fusion_jax.readouts.mean import Mean as MeanReadout
from fusion_jax.records import Array, Batch

PLACEMENTS = ("before", "after")


def read(module) -> dict[str, np.ndarray]:
    """A linear layer (or a norm) as float64 arrays by name; without those it does not have."""
    names = ("kernel", "bias", "scale")
    found = {n: getattr(module, n, None) for n in names}
    return {n: np.asarray(v[...], np.float64) for n, v in found.items() if v is not None}


def write(module, layer: dict[str, np.ndarray]) -> None:
    for name, value in layer.items():
        put(getattr(module, name), value)


def put(variable, value: np.ndarray) -> None:
    variable[...] = jnp.asarray(value.reshape(variable.shape), variable.dtype)


class Walk:
    """One alignment: the rules and which rows are probed.

    Args:
        rules: see `_rules`.
        batch: what both models see.
        nodes: bool [N], nodes whose activations may be looked at.
        samples: how many activations are compared at most.
        seed: of their choice.
    """

    def __init__(self, rules: Rules, batch: Batch, nodes: np.ndarray, samples: int, seed: int):
        self.rules, self.batch, self.samples, self.seed = rules, batch, samples, seed
        self.nodes = np.asarray(nodes)

    def probe(self, y: tuple[Array, Array], valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standardised activations [S, n] of both models at some of the valid rows; y [..., n], valid bool [...]."""
        rows = np.flatnonzero(valid)
        if rows.size < 2:
            raise ValueError(f"ot_fusion compares activations of training nodes: {rows.size} is too few")
        if rows.size > self.samples:
            rows = np.sort(np.random.default_rng(self.seed).choice(rows, self.samples, replace=False))
        return tuple(standardise(np.asarray(a).reshape(-1, a.shape[-1])[rows]) for a in y)

    def linear(self, layers, t_in, x, valid) -> tuple[np.ndarray, tuple[Array, Array]]:
        """A pair of linear layers on inputs x [..., in] of both models."""
        y = tuple(layer(a) for layer, a in zip(layers, x, strict=True))
        aligned, t_out = self.rules.dense(*map(read, layers), t_in, self.probe(y, valid))
        write(layers[0], aligned)
        return t_out, y

    def mlp(self, mlps, t_in, x, valid):
        """Linear, activation, linear."""
        t, hidden = self.linear([m.fc1 for m in mlps], t_in, x, valid)
        hidden = tuple(m.activation(h) for m, h in zip(mlps, hidden, strict=True))
        return self.linear([m.fc2 for m in mlps], t, hidden, valid)


def align(model0: Model, model1: Model, walk: Walk) -> Model:
    """A copy of model 0 in the anchor's coordinates.

    Raises:
        ValueError: a placement or a mechanism that the walk has no rule for, by name.
    """
    check(model1)
    aligned = nnx.clone(model0)
    models, batch = (aligned, model1), walk.batch
    (x0, mask), (x1, _) = (m.encode(batch) for m in models)
    present = model1.senders(mask, batch.graph)
    maps = [_encoder(walk, models, m) for m in range(len(model1.names))]
    if aligned.missing_token is not None:
        token = aligned.missing_token[...]
        put(aligned.missing_token, np.stack([np.asarray(token[m]) @ t for m, t in enumerate(maps)]))
    x = (x0, x1)
    for streams in zip(*(m.streams for m in models), strict=True):
        maps, x, present = _streams(walk, model1, streams, maps, x, present)
    seen = model1.seen(mask if present is None else present, batch)
    mask = np.asarray(seen)
    fusions = [m.fusions[-1] for m in models]
    before = [nnx.clone(fusions[0]), fusions[1]]
    t = FUSIONS[type(fusions[0])](walk, fusions, maps, x, mask)
    h = tuple(f(a, jnp.asarray(mask), batch.graph).out for f, a in zip(before, x, strict=True))
    present = None if present is None else seen.any(1)
    for layers in zip(*(m.layers for m in models), strict=True):
        t, h, present = _graph_layer(walk, model1, layers, t, h, batch.graph, present)
    write(aligned.head, last(read(aligned.head), t))
    return aligned


def check(model: Model) -> None:
    """Raises ValueError where the walk has no rule for something in the model."""
    if model.placement not in PLACEMENTS:
        raise ValueError(f"ot_fusion walks the placements {PLACEMENTS}, this cell's is {model.placement!r}")
    if model.head is None:
        raise ValueError("ot_fusion has no rule for a model whose last graph layer predicts (model.head='none')")
    layers = [*model.layers, *(s.layers for s in model.streams)]
    if any(isinstance(layer, GAT) and layer.merge != "concat" for layer in layers):
        raise ValueError("ot_fusion has no rule for the graph layer 'gat' with averaged heads (merge='mean')")
    for kind, found, known in (
        ("encoder", model.encoders, (Linear, Mlp)),
        ("fusion", model.fusions, tuple(FUSIONS)),
        ("graph", layers, (GCN, GAT, Sage, None_)),
        ("readout", [model.readout], (Last, MeanReadout)),
    ):
        for part in found:
            if type(part) not in known:
                names = ", ".join(sorted(_name(c) for c in known))
                raise ValueError(f"ot_fusion has no rule for the {kind} {_name(type(part))!r}; it knows: {names}")


def _name(mechanism: type) -> str:
    return mechanism.__module__.rsplit(".", 1)[-1]


def _encoder(walk: Walk, models, m: int) -> np.ndarray:
    name, present = models[1].names[m], walk.batch.mask[:, m]
    x = jnp.where(present[:, None], walk.batch.features[name], 0)
    encoders, valid = [model.encoders[m] for model in models], walk.nodes & np.asarray(present)
    if isinstance(encoders[1], Linear):
        return walk.linear([e.linear for e in encoders], None, (x, x), valid)[0]
    return walk.mlp([e.mlp for e in encoders], None, (x, x), valid)[0]


def _streams(walk: Walk, model: Model, streams, maps, x, present):
    """One graph layer a modality, each with a map of its own; `present` is who has something in each, or None."""
    outs, slices, after = [], [], []
    for m, t in enumerate(maps):
        layers = [jax.tree.map(lambda a, m=m: a[m], s.layers) for s in streams]
        graph = walk.batch.graph.view(m)
        own = None if present is None else present[:, m]
        t, h, own = _graph_layer(walk, model, layers, t, tuple(a[:, m] for a in x), graph, own)
        after.append(own)
        maps[m] = t
        outs.append(h)
        slices.append(layers[0])
    streams[0].layers = jax.tree.map(lambda *a: jnp.stack(a), *slices)
    present = None if present is None else jnp.stack(after, axis=1)
    return maps, tuple(jnp.stack(a, axis=1) for a in zip(*outs, strict=True)), present


def _graph_layer(walk: Walk, model: Model, layers, t_in, x, graph: Graph, present):
    """A graph layer and the activation behind it: its neurons are the features it returns, before the activation."""
    y = tuple(layer(a, graph, present) for layer, a in zip(layers, x, strict=True))
    own, anchor = layers
    present = model.behind(anchor, present, graph)
    valid = walk.nodes if present is None else walk.nodes & np.asarray(present)
    kernels = [_kernels(layer) for layer in layers]  # those of one layer read the same features: one cost, one map
    acts = walk.probe(y, valid)
    joined = (
        np.concatenate([mapped({"kernel": k}, t_in, np.eye(k.shape[1]))["kernel"] for k in _values(kernels[0])]),
        np.concatenate(_values(kernels[1])),
    )
    heads = anchor.heads if isinstance(anchor, GAT) else 1
    t_out = walk.rules.map(joined, acts, heads)
    for kernel in kernels[0]:
        put(kernel, mapped({"kernel": np.asarray(kernel[...], np.float64)}, t_in, t_out)["kernel"])
    vectors = [own.att_sender, own.att_receiver, own.bias] if isinstance(own, GAT) else [_bias(own)]
    for vector in vectors:
        put(vector, np.asarray(vector[...], np.float64).reshape(-1) @ t_out)
    return t_out, tuple(only(ACTIVATIONS[model.activation](a), present) for a in y), present


def _kernels(layer) -> list:
    if isinstance(layer, Sage):
        return [layer.own.kernel, layer.neighbour.kernel]
    return [layer.linear.kernel]


def _values(kernels) -> list[np.ndarray]:
    return [np.asarray(k[...], np.float64) for k in kernels]


def _bias(layer):
    return layer.own.bias if isinstance(layer, Sage) else layer.linear.bias


def _mean_map(walk, fusions, maps, x, mask):
    """Sum, mean and maximum have no parameters."""
    del walk, fusions, x, mask
    return np.mean(maps, axis=0)


def _single(walk, fusions, maps, x, mask):
    del walk, x, mask
    return maps[fusions[1].index]


def _concatenated(x, mask):
    return tuple(jnp.where(jnp.asarray(mask)[..., None], a, 0).reshape(len(a), -1) for a in x)


def _concat_linear(walk, fusions, maps, x, mask):
    t_in, valid = scipy.linalg.block_diag(*maps), walk.nodes & mask.any(1)
    return walk.linear([f.linear for f in fusions], t_in, _concatenated(x, mask), valid)[0]


def _concat_mlp(walk, fusions, maps, x, mask):
    t_in, valid = scipy.linalg.block_diag(*maps), walk.nodes & mask.any(1)
    return walk.mlp([f.mlp for f in fusions], t_in, _concatenated(x, mask), valid)[0]


def _attention_acts(walk, fusions, x, mask, queries):
    """Pre-activations of Q, K and V: at every valid pair of node and modality; of Q where the fusion has it."""
    valid = walk.nodes[:, None] & mask
    acts = {
        n: walk.probe(tuple(getattr(f, long)(a) for f, a in zip(fusions, x, strict=True)), valid)
        for n, long in (("k", "key"), ("v", "value"))
    }
    if queries is not None:
        rows = valid if queries[0].ndim == 3 else walk.nodes & mask.any(1)
        acts["q"] = walk.probe(tuple(f.query(a) for f, a in zip(fusions, queries, strict=True)), rows)
    return acts


def _attention(walk, fusions, maps, x, mask, queries):
    t_in = np.mean(maps, axis=0)
    blocks = [{"q": read(f.query), "k": read(f.key), "v": read(f.value)} for f in fusions]
    acts = _attention_acts(walk, fusions, x, mask, queries)
    if len(acts["q"][0]) != len(acts["k"][0]) and walk.rules.qk == "joint":
        raise ValueError("ot_fusion: qk='joint' compares Q and K row by row; node_query has one query a node")
    aligned, t_out = walk.rules.attention(*blocks, t_in, acts)
    for name, layer in (("q", fusions[0].query), ("k", fusions[0].key), ("v", fusions[0].value)):
        write(layer, aligned[name])
    return t_out


def _self_attention(walk, fusions, maps, x, mask):
    return _attention(walk, fusions, maps, x, mask, x)


def _node_query(walk, fusions, maps, x, mask):
    states = tuple(masked_mean(a, jnp.asarray(mask)) for a in x)
    return _attention(walk, fusions, maps, x, mask, states)


def _free_query(walk, fusions, maps, x, mask):
    """The learned query lives where the keys do: it gets their map."""
    t_in, own = np.mean(maps, axis=0), fusions[0]
    acts = _attention_acts(walk, fusions, x, mask, None)
    key, t_key = walk.rules.dense(*(read(f.key) for f in fusions), t_in, acts["k"])
    value, t_out = walk.rules.dense(*(read(f.value) for f in fusions), t_in, acts["v"])
    write(own.key, key)
    write(own.value, value)
    put(own.query, np.asarray(own.query[...], np.float64) @ t_key)
    return t_out


def _node_token(walk, fusions, maps, x, mask):
    """The published encoder. The node token gets the mean map, the embedding of a modality the map of what it is
    added to, which the reference's position table has no counterpart of."""
    own, t = fusions[0], np.mean(maps, axis=0)
    present = jnp.concatenate([jnp.ones_like(jnp.asarray(mask)[:, :1]), jnp.asarray(mask)], axis=1)
    valid = np.concatenate([np.zeros((len(mask), 1), bool), walk.nodes[:, None] & mask], axis=1)
    z = tuple(
        jnp.concatenate([jnp.broadcast_to(f.token[...], (len(a), 1, a.shape[-1])), a + f.embedding[...]], axis=1)
        for f, a in zip(fusions, x, strict=True)
    )
    put(own.token, np.asarray(own.token[...], np.float64) @ t)
    put(own.embedding, np.stack([np.asarray(e, np.float64) @ s for e, s in zip(own.embedding[...], maps, strict=True)]))
    for blocks in zip(*(f.blocks for f in fusions), strict=True):
        acts, before, new = _block_acts(walk, blocks, z, present, valid)
        aligned, t = walk.rules.encoder(*map(_read_block, blocks), t, acts, before, blocks[1].attention.heads)
        _write_block(blocks[0], aligned)
        z = new
    write(own.norm, norm(read(own.norm), t))
    return t


_PROJECTIONS = dict(q="query", k="key", v="value", o="out")


def _read_block(block):
    attention = {n: read(getattr(block.attention, long)) for n, long in _PROJECTIONS.items()}
    return dict(
        norm1=read(block.ln1),
        norm2=read(block.ln2),
        attention=attention,
        ff0=read(block.mlp.fc1),
        ff1=read(block.mlp.fc2),
    )


def _write_block(block, aligned):
    for n, long in _PROJECTIONS.items():
        write(getattr(block.attention, long), aligned["attention"][n])
    for part, n in ((block.ln1, "norm1"), (block.ln2, "norm2"), (block.mlp.fc1, "ff0"), (block.mlp.fc2, "ff1")):
        write(part, aligned[n])


def _block_acts(walk, blocks, z, present, valid):
    """What the layers of a pair of blocks compute on tokens z [N, L, D], and what goes on."""
    seen = {n: [] for n in ("before", "q", "k", "v", "o", "ff0", "ff1")}
    new = []
    for block, a in zip(blocks, z, strict=True):
        normed = block.ln1(a)
        attended, _ = block.attention(normed, mask=present)
        middle = a + attended
        hidden = block.mlp.fc1(block.ln2(middle))
        out = block.mlp.fc2(block.mlp.activation(hidden))
        for n, value in (("before", a), ("o", attended), ("ff0", hidden), ("ff1", out)):
            seen[n].append(value)
        for n in "qkv":
            seen[n].append(getattr(block.attention, _PROJECTIONS[n])(normed))
        new.append(middle + out)
    acts = {n: walk.probe(tuple(pair), valid) for n, pair in seen.items()}
    before = acts.pop("before")[1]
    acts["attended"] = acts["o"][1]
    return acts, before, tuple(new)


FUSIONS: dict[type, Callable] = {
    concat_linear.ConcatLinear: _concat_linear,
    concat_mlp.ConcatMlp: _concat_mlp,
    mean_.Mean: _mean_map,
    sum_.Sum: _mean_map,
    max_.Max: _mean_map,
    single.Single: _single,
    self_attention.SelfAttention: _self_attention,
    free_query.FreeQuery: _free_query,
    node_query.NodeQuery: _node_query,
    node_token.NodeToken: _node_token,
}
