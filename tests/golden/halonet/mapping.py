"""HaloNet: the stand-in's windows of a grid as our records, with padding masked or as nodes; the form on graphs."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.halonet import Halonet, relative_logits
from fusion_jax.nn.parts import of_parts
from fusion_jax.records import EVALUATION
from fusion_jax.structures.base import Edges
from fusion_jax.structures.partition import given
from fusion_jax.structures.windows import Halos, Windows
from tests.helpers import assign, linear, run


def grid(shape, block, halo):
    """Nodes are the pixels, then one cell of padding; returns partition, windows, and windows that hold it too."""
    pixels = np.arange(np.prod(shape)).reshape(shape)
    padding, wide = pixels.size, block + 2 * halo
    padded = np.pad(pixels, halo, constant_values=padding)
    blocks = [(r, c) for r in range(0, shape[0], block) for c in range(0, shape[1], block)]
    ids = np.stack([padded[r : r + wide, c : c + wide].reshape(-1) for r, c in blocks])
    inside = np.zeros((wide, wide), bool)
    inside[halo : halo + block, halo : halo + block] = True
    inside = np.broadcast_to(inside.reshape(-1), ids.shape)
    slot = np.append((pixels // shape[1] // block * (shape[1] // block) + pixels % shape[1] // block).reshape(-1), -1)
    graph = dataclasses.replace(Graph.create([], [], padding + 1), present=jnp.asarray(slot >= 0))
    without = Halos.of(np.where(ids == padding, padding + 1, ids), inside, padding + 1)
    return given(Edges.of(graph), slot), without, Halos.of(ids, inside, padding + 1)


def offsets(block, halo, axis):
    """int [1, block^2, window^2], (place in the window) - (place in the block) + window - 1 along an axis."""
    wide = block + 2 * halo
    i, j = (np.indices((n, n))[axis].reshape(-1) for n in (block, wide))
    return (j[None] - i[:, None] + wide - 1)[None]


def halo_attention(case):
    batch, channels, *shape = case["x"].shape
    heads, dim, block, halo = (case[f"cfg_{n}"].item() for n in ("num_heads", "dim_head", "block", "halo"))
    parts, without, with_padding = grid(shape, block, halo)
    yield "window_valid", np.asarray(without.valid), case["window_valid"]
    pixels = case["x"].reshape(batch, channels, -1).swapaxes(1, 2)
    kv = case["param/kv.weight"][:, :, 0, 0].reshape(heads, -1, channels)
    weights = case["param/q.weight"][:, :, 0, 0].reshape(heads, dim, channels), kv[:, :dim], kv[:, dim:]
    layer = Halonet(heads, heads=heads, scale_relative=case["cfg_scale_pos_embed"].item(), rngs=nnx.Rngs(0))
    found = []
    for x in pixels:
        x = jnp.asarray(np.concatenate([x, np.zeros((1, channels))]))  # the projections have no bias: padding stays 0
        q, k, v = (jnp.einsum("nc,hdc->nhd", x, w) for w in weights)
        rows = of_parts(parts).gather(q)
        relative = sum(
            relative_logits(rows, jnp.asarray(case[f"param/pos_embed.{name}_rel"]), offsets(block, halo, axis))
            for axis, name in enumerate(("height", "width"))
        )
        outs = [layer.attend(q, k, v, parts, halos, relative)[0] for halos in (without, with_padding)]
        found.append((relative.swapaxes(0, 1), *(out[:-1].reshape(*shape, -1).transpose(2, 0, 1) for out in outs)))
    relative, masked, padded = (np.stack(a) for a in zip(*found, strict=True))
    yield "rel_pos_logits", relative, case["rel_pos_logits"]
    yield "y_padding_masked", masked, case["y_padding_masked"]
    yield "y_zero_padded", padded, case["y_zero_padded"]


def graph_halo(case):
    x, assigned, heads, hops = case["x"], case["assign"], case["cfg_heads"].item(), case["cfg_hops"].item()
    names = dict(query="q", key="k", value="v", proj="o")
    widths = case["param/q.weight"].shape[::-1]
    make = functools.partial(Halonet, *widths, heads=heads, hops=hops)
    layer = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    kernels = [linear(ours, case, f"param/{theirs}.weight") for ours, theirs in names.items()]
    assign(layer, {k: v for kernel in kernels for k, v in kernel.items()})
    graph = Graph.create(case["senders"], case["receivers"], len(x))
    edges = Edges.of(graph)
    parts = given(edges, assigned)
    (halos,) = Windows(parts=1, hops=hops).make([edges], [[parts]])
    records = dict(zip(map(str, layer.structures), (parts, halos), strict=True))
    graph = dataclasses.replace(graph, derived=records)
    window = np.zeros(case["block_member"].shape, bool)
    rows, places = np.nonzero(np.asarray(halos.valid))
    window[rows, np.asarray(halos.ids)[rows, places]] = True
    yield "block_member", window, case["block_member"]

    def call(layer, x):
        return layer(x, graph), layer.attention(x, graph, None, EVALUATION)[0]

    y, attention = run(layer, x, by=call)
    yield "y", y, case["y"]
    dense, valid = np.zeros(case["attn"].shape), np.asarray(attention.valid)[:, 0]
    ends = np.asarray(attention.receivers)[valid], np.asarray(attention.senders)[valid]
    dense[:, *ends] = np.asarray(attention.weights)[valid].T
    yield "attn", dense, case["attn"]
