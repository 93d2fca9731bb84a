"""Combiner: its causal forms as functions, the form that looks both ways as the layer on a given partition."""

import dataclasses
import functools

import jax
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.combiner import Combiner
from fusion_jax.nn import combiner
from fusion_jax.nn.parts import of_graphs
from fusion_jax.records import EVALUATION
from fusion_jax.structures.base import Edges
from fusion_jax.structures.partition import given
from tests.helpers import assign, run


def layer_of(case, output, **options):
    """Our layer with the kernels of the case, [D, H, hd] as [D, H hd]."""
    heads = case["cfg_num_heads"].item()
    width, dim = case["x"].shape[-1], case["param/query.kernel"].shape[2]
    make = functools.partial(Combiner, width, heads * dim, heads=heads, **options)
    layer = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    values = {f"{part}.kernel": case[f"param/{part}.kernel"].reshape(width, -1) for part in ("query", "key", "value")}
    return assign(layer, {**values, "proj.kernel": case[f"param/{output}.kernel"].reshape(heads * dim, -1)})


def projected(layer, x):
    """q / sqrt(hd), k and v [..., H, hd]."""
    q, k, v = (f(x).reshape(*x.shape[:-1], layer.heads, -1) for f in (layer.query, layer.key, layer.value))
    return q / np.sqrt(q.shape[-1]), k, v


def merged(layer, out):
    return layer.proj(out.reshape(*out.shape[:-2], -1))


def fixed(case):
    def call(layer, x):
        found = combiner.fixed(*projected(layer, x), case["cfg_seg_len"].item())
        return merged(layer, found.out), found

    y, found = run(layer_of(case, "DenseGeneral_0"), case["x"], by=call)
    yield "y", y, case["y"]
    yield "attn", found.weights, case["attn"]
    yield "span_key", found.spans.key, case["span_key"]
    yield "span_val", found.spans.value, case["span_val"]


def logn(case):
    levels = case["attn"].shape[-1] - 1  # the reference has one less than we where L = 2^m + 1

    def call(layer, x):
        found = combiner.logn(*projected(layer, x), levels)
        return merged(layer, found.out), found.weights

    y, weights = run(layer_of(case, "DenseGeneral_0"), case["x"], by=call)
    yield "y", y, case["y"]
    yield "attn", weights, case["attn"]


def axial_rowmajor(case):
    batch, length, width = case["x"].shape
    row_key = nnx.eval_shape(lambda: combiner.RowKey(width, case["cfg_num_heads"].item(), rngs=nnx.Rngs(0)))
    names = {"summary.kernel": "DenseGeneral_0.kernel", "key.kernel": "DenseGeneral_1.kernel"}
    names |= {f"norm.{kind}": f"LayerNorm_0.{kind}" for kind in ("scale", "bias")}
    values = {ours: case[f"param/{theirs}"] for ours, theirs in names.items()}
    assign(row_key, {name: v if v.ndim == 1 else v.reshape(width, width) for name, v in values.items()})

    def call(layer, x):
        grid = x.reshape(batch, -1, case["cfg_seg_len"].item(), width)
        found = combiner.axial(*projected(layer, grid), lambda y: row_key(y, grid))
        return merged(layer, found.out).reshape(batch, length, -1), found.weights

    y, weights = run(layer_of(case, "DenseGeneral_2"), case["x"], by=call)
    yield "y", y, case["y"]
    yield "attn", weights, case["attn"]


def fixed_bidirectional(case):
    part, length = case["assign"], case["x"].shape[1]
    layer = layer_of(case, "out", own_summary=case["cfg_own_summary"].item())
    graph = Graph.create([], [], length)
    parts = given(Edges.of(graph), part)
    graph = dataclasses.replace(graph, derived={str(layer.structures[0]): parts})
    table = of_graphs(parts)

    def call(layer, xs):
        def one(x):
            _, found = layer.attend(x, graph, None, EVALUATION)
            return layer(x, graph), found.spans, table.scatter(found.weights)

        return jax.vmap(one)(xs)

    y, spans, weights = run(layer, case["x"], by=call)
    yield "y", y, case["y"]
    yield "span_key", spans.key[:, 0], case["span_key"]
    yield "span_val", spans.value[:, 0], case["span_val"]
    yield "attn", spread(np.asarray(weights), parts), case["attn"]


def spread(weights, parts):
    """[B, L, H, places + S] -> [B, H, L, L + S]: the places of a node's own part at their nodes."""
    batch, length, heads, _ = weights.shape
    members, valid = np.asarray(parts.members), np.asarray(parts.valid)
    dense = np.zeros((batch, heads, length, length + len(members)))
    for i, p in enumerate(np.asarray(parts.part)):
        own = weights[:, i, :, : members.shape[1]]
        dense[:, :, i, members[p][valid[p]]] = own[:, :, valid[p]]
        dense[:, :, i, length:] = weights[:, i, :, members.shape[1] :]
    return dense
