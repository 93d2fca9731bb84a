"""NATTEN's operators on paths and grids: our windows make the edges, the layer attends in both forms."""

import jax
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.neighborhood_attention import FORMS, NeighborhoodAttention
from fusion_jax.nn import windows
from fusion_jax.nn.attention import attend

FLOAT32 = 1e-6  # the operator runs in float32; `y` and `lse` are its double-precision evaluation


def snap(ours, reference):
    """`ours` in float64 against a float32 reference: the reference where they agree to its precision."""
    near = np.abs(ours - reference) <= FLOAT32 * np.abs(reference).max()
    return np.where(near, reference.astype(np.float64), ours)


def compare(case):
    q, k, v = (case[name].astype(np.float64) for name in "qkv")
    batch, *shape, heads, dim = q.shape
    options = {"dilation": case["dilation"], "stride": case["stride"], "causal": case["is_causal"]}
    mask = windows.window_mask(shape, case["kernel_size"], **options)
    yield "mask", mask, case["mask"]
    senders, receivers = windows.window_edges(shape, case["kernel_size"], **options)
    yield "senders", senders, case["senders"]
    yield "receivers", receivers, case["receivers"]
    table, valid = windows.window_table(shape, case["kernel_size"], **options)
    yield "table", _dense(table, valid), case["mask"]
    graph = Graph.create(senders, receivers, len(mask))
    flat = [a.reshape(batch, len(mask), heads, -1) for a in (q, k, v)]
    for form in FORMS:
        layer = NeighborhoodAttention(heads * dim, heads=heads, kernel_size=table.shape[1], form=form, rngs=nnx.Rngs(0))
        y, lse = jax.vmap(lambda q, k, v: layer.attend(q, k, v, graph))(*flat)  # noqa: B023
        y, lse = np.asarray(y).reshape(v.shape), np.asarray(lse).reshape(q.shape[:-1])
        yield f"y, {form}", y, case["y"]
        yield f"lse, {form}", lse, case["lse"]
        for name, ours in (("y_float32_reference", y), ("lse_float32_reference", lse)):
            yield f"{name}, {form}", snap(ours, case[name]), case[name]
    yield "y, dense", attend(*flat, mask[None])[0].reshape(v.shape), case["y"]


def _dense(table, valid):
    mask = np.zeros((len(table), len(table)), int)
    np.add.at(mask, (np.nonzero(valid)[0], table[valid]), 1)  # a key twice in a row would show as 2
    return mask


na1d = na2d = compare
