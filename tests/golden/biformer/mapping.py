"""BiFormer: both forms of the reference on grids, windows as parts; the layer on an unequal partition."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.biformer import Biformer, means
from fusion_jax.nn.neighbour_mean import NeighbourScale
from fusion_jax.records import EVALUATION
from fusion_jax.structures.base import Edges
from fusion_jax.structures.partition import given
from tests.helpers import assign, linear, run


def layer_of(case, qkv, output, **options):
    """The layer with the weights of the case, without the local term, which a grid has another of."""
    values = {name: case[f"param/{name}"] for name in (f"{qkv}.weight", f"{qkv}.bias")}
    values |= {name: case[f"param/{name}"] for name in (f"{output}.weight", f"{output}.bias")}
    values = {name: v.reshape(v.shape[:2]) if v.ndim == 4 else v for name, v in values.items()}
    width = values[f"{qkv}.weight"].shape[1], values[f"{output}.weight"].shape[0]
    own = dict(heads=case["cfg_num_heads"].item(), topk=case["cfg_topk"].item(), local=False)
    make = functools.partial(Biformer, *width, **own, **options)
    layer = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    names = {"qkv": qkv, "proj": output}
    maps = [linear(ours, values, f"{theirs}.weight", f"{theirs}.bias") for ours, theirs in names.items()]
    return assign(layer, {k: v for one in maps for k, v in one.items()})


def windows(x, size):
    """[B, H, W, ...] -> [B, windows, places, ...], both row by row."""
    b, h, w, *inner = x.shape
    x = x.reshape(b, h // size[0], size[0], w // size[1], size[1], *inner).swapaxes(2, 3)
    return x.reshape(b, -1, size[0] * size[1], *inner)


def plane(x, size, shape):
    """Back, [B, windows, places, ...] -> [B, H, W, ...]."""
    b, _, _, *inner = x.shape
    x = x.reshape(b, shape[0] // size[0], shape[1] // size[1], *size, *inner).swapaxes(2, 3)
    return x.reshape(b, *shape, *inner)


def depthwise(case, v):
    """The convolution of v [B, H, W, D] as a sum of our local terms: for each offset the graph of one neighbour."""
    if "param/lepe.weight" not in case:
        return jnp.zeros_like(v)
    (b, h, w, d), weight = v.shape, case["param/lepe.weight"][:, 0]
    ids, half, total = np.arange(b * h * w).reshape(b, h, w), weight.shape[1] // 2, 0
    module = nnx.eval_shape(lambda: NeighbourScale(d, std=1.0, rngs=nnx.Rngs(0)))
    for r, c in np.ndindex(weight.shape[1:]):
        dr, dc = r - half, c - half
        heard = ids[:, max(dr, 0) : h + min(dr, 0), max(dc, 0) : w + min(dc, 0)].reshape(-1)
        hears = ids[:, max(-dr, 0) : h - max(dr, 0), max(-dc, 0) : w - max(dc, 0)].reshape(-1)
        middle = (dr, dc) == (0, 0)
        own = dict(own=weight[:, r, c] * middle, neighbour=weight[:, r, c] * (not middle))
        assign(module, {**own, "bias": case["param/lepe.bias"] * middle})
        graph = Graph.create([], [], ids.size) if middle else Graph.create(heard, hears, ids.size)
        total = total + module(v.reshape(-1, d), graph)
    return total.reshape(v.shape)


def pooled(x, shape, side):
    """AdaptiveAvgPool2d: x [B, S, places, D], places of `shape`, to side x side."""
    x = x.reshape(*x.shape[:2], *shape, x.shape[-1])
    for axis, n in zip((2, 3), shape, strict=True):
        cells = [slice(i * n // side, -(-(i + 1) * n // side)) for i in range(side)]
        x = jnp.concatenate([x[(slice(None),) * axis + (c,)].mean(axis, keepdims=True) for c in cells], axis)
    return x.reshape(*x.shape[:2], side * side, x.shape[-1])


def legacy(case):
    x, count = case["x"], case["cfg_n_win"].item()
    size = x.shape[1] // count, x.shape[2] // count
    layer = layer_of(case, "qkv.qkv", "wo", soft_routing=case["cfg_soft_routing"].item())
    kind = str(case["cfg_kv_down"])
    assert kind in ("identity", "ada_avgpool"), f"kv_down {kind}: no case had it"

    def call(layer, x):
        q, k, v = jnp.split(layer.qkv(x), 3, axis=-1)
        lepe = depthwise(case, v)
        q, k, v = (windows(a, size) for a in (q, k, v))
        routing = layer.route(q, k, jnp.ones(k.shape[:3], bool))
        if kind == "ada_avgpool":
            side = round((case["attn"].shape[-1] / layer.topk) ** 0.5)
            k, v = (pooled(a, size, side) for a in (k, v))
        out, weights, _ = layer.attend(q, k, v, jnp.ones(k.shape[:3], bool), routing)
        return layer.proj(plane(out, size, x.shape[1:3]) + lepe), routing, weights

    y, routing, weights = call(layer, jnp.asarray(x))
    yield "y", y, case["y"]
    yield "route_index", routing.index, case["route_index"]
    yield "route_weight", routing.weight, case["route_weight"]
    yield "attn", weights.reshape(-1, *weights.shape[2:]), case["attn"]


def nchw(case):
    """Where the regions do not divide the plane: means of real cells, and padding (zeros) among the keys."""
    x, count = case["x"].transpose(0, 2, 3, 1), case["cfg_n_win"].item()
    shape = x.shape[1:3]
    size = shape[0] // count, shape[1] // count
    layer = layer_of(case, "qkv_linear", "output_linear")
    more = [-n % s for n, s in zip(shape, size, strict=True)]
    whole = tuple(n + m for n, m in zip(shape, more, strict=True))

    def cut(a):
        return windows(jnp.pad(a, [(0, 0), (0, more[0]), (0, more[1]), (0, 0)]), size)

    q, k, v = jnp.split(layer.qkv(jnp.asarray(x)), 3, axis=-1)
    lepe, real = depthwise(case, v), cut(jnp.ones((*x.shape[:3], 1)))[..., 0] > 0
    q, k, v = (cut(a) for a in (q, k, v))
    routing = layer.route(q, k, real)
    out, weights, _ = layer.attend(q, k, v, jnp.ones_like(real), routing)
    out = plane(out, size, whole)[:, : shape[0], : shape[1]]
    yield "y", layer.proj(out + lepe).transpose(0, 3, 1, 2), case["y"]
    yield "region_score", jnp.einsum("grd,gsd->grs", means(q, real), means(k, real)), case["region_score"]
    yield "region_score, scaled", routing.score / layer.scale, case["region_score"]
    yield "region_topk_index", routing.index, case["region_topk_index"]
    yield "attn", weights.swapaxes(1, 2), case["attn"]


def ragged_partition(case):
    x, layer = case["x"], layer_of(case, "qkv.qkv", "wo")
    graph = Graph.create([], [], len(x))
    parts = given(Edges.of(graph), case["assign"])
    graph = dataclasses.replace(graph, derived={str(layer.structures[0]): parts})

    def call(layer, x):
        return layer(x, graph), layer.attention(x, graph, None, EVALUATION)

    y, (attention, routing) = run(layer, x, by=call)
    yield "y", y, case["y"]
    yield "region_score", routing.scores[0], case["region_score"]
    best = jax.lax.top_k(jnp.where(routing.valid, routing.scores, -jnp.inf)[0], layer.topk)[1]
    yield "route_index", best, case["route_index"]
    seen = np.asarray(attention.valid)[:, 0]
    ends = np.asarray(attention.receivers)[seen], np.asarray(attention.senders)[seen]
    dense, mask = np.zeros(case["attn"].shape), np.zeros(case["token_mask"].shape, case["token_mask"].dtype)
    dense[:, *ends], mask[ends] = np.asarray(attention.weights)[seen].T, True
    yield "token_mask", mask, case["token_mask"]
    yield "attn", dense, case["attn"]
