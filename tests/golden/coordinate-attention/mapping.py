"""Coordinate attention: the block on planes (a graph a plane, rows as nodes, columns as modalities), and on graphs.

From Andrew-Qibin/CoordAttention at dbd5e7b; `graph_masked_independent` is independent arithmetic.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.coordinate_attention import CoordinateAttention
from fusion_jax.graphs import Graph
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.pooling import pool_mean
from fusion_jax.records import Context
from tests.helpers import assign, parameters, prefixed, run
from tests.test_golden import find_cases

LAYERS = {"conv1": "conv1", "conv_h": "h", "conv_w": "w"}  # ours, and the independent arithmetic's


def blank(modalities, dim, reduction):
    return nnx.eval_shape(lambda: CoordinateAttention(modalities, dim, reduction=reduction, rngs=nnx.Rngs(0)))


def steps(fusion, x, mask, graph):
    p_h = masked_mean(x, mask)
    gates = fusion.gates(x, p_h, mask, graph, training=False)
    return p_h, pool_mean(x, mask, graph), gates, fusion(x, mask, graph).tokens


def build(case):
    x = case["x"]
    fusion = blank(x.shape[3], x.shape[1], case["reduction"].item())
    values = {f"{name}.kernel": case[f"param/{name}.weight"][..., 0, 0].T for name in LAYERS}
    values |= {f"{name}.bias": case[f"param/{name}.bias"] for name in LAYERS}
    values |= {"bn1.scale": case["param/bn1.weight"], "bn1.bias": case["param/bn1.bias"]}
    values |= running(case, "param/bn1.running_")
    return assign(fusion, prefixed("gates", values))


def running(case, prefix):
    return {f"bn1.{name}": case[prefix + name] for name in ("mean", "var")}


def as_nodes(planes):
    """[B, C, H, W] -> [B H, W, C]"""
    return planes.transpose(0, 2, 3, 1).reshape(-1, planes.shape[3], planes.shape[1])


def as_planes(tokens, like):
    b, c, h, w = like.shape
    return jnp.asarray(tokens).reshape(b, h, w, c).transpose(0, 3, 1, 2)


def planes(case):
    """x [B H, W, C] of a graph a plane, the mask, and the graphs."""
    batch, _, height, _ = case["x"].shape
    x, nobody = as_nodes(case["x"]), np.array([], int)
    return x, np.ones(x.shape[:2], bool), Graph.create(nobody, nobody, np.full(batch, height))


def eval_mode(case):
    fusion, (x, mask, graph) = build(case), planes(case)
    *_, gates, tokens = run(fusion, x, mask, graph, by=steps)
    (batch, _, height, width), mid = case["x"].shape, gates.mid_node.shape[-1]
    rows = [gates.mid_node.reshape(batch, height, mid), gates.mid_modality.reshape(batch, width, mid)]
    yield "mid", np.concatenate(rows, 1).swapaxes(1, 2)[..., None], case["mid"]
    yield "gate_h", gates.node.reshape(batch, height, -1).swapaxes(1, 2)[..., None], case["gate_h"]
    yield "gate_w", gates.modality.swapaxes(1, 2)[:, :, None], case["gate_w"]
    yield "out", as_planes(tokens, case["x"]), case["out"]


def before(case):
    """The running statistics that a case in training starts from: those of the same module in evaluation."""
    if "param/bn1.running_mean" in case:
        return case
    for name, path in find_cases():
        if name.startswith("coordinate-attention/eval_mode/"):
            with np.load(path, allow_pickle=False) as file:
                same = ("x", "param/conv1.weight", "param/conv_w.bias")
                if all(np.array_equal(file[k], case[k]) for k in same):
                    return {**case, **{k: file[k] for k in file.files if "running" in k}}
    return None


def train_mode(case):
    start, width = before(case), case["param/bn1.weight"].shape
    filler = {"param/bn1.running_mean": np.zeros(width), "param/bn1.running_var": np.ones(width)}
    fusion, (x, mask, graph) = build({**case, **filler} if start is None else start), planes(case)
    fused = run(fusion, x, mask, graph, Context(key=jax.random.key(0)))
    yield "out", as_planes(fused.tokens, case["x"]), case["out"]
    if start is not None:
        for name in ("mean", "var"):
            now = parameters(fusion)[f"gates.bn1.{name}"]
            yield f"running_{name}_after", now[...], case[f"running_{name}_after"]


def graph_masked_independent(case):
    order = np.argsort(case["graph_id"], kind="stable")
    x, mask, nobody = case["x"][order], case["mask"][order], np.array([], int)
    graph = Graph.create(nobody, nobody, np.bincount(case["graph_id"], minlength=len(case["pool_modalities"])))
    dim, width = case["W_conv1"].shape
    reduction = next(r for r in range(1, dim + 1) if max(8, dim // r) == width)
    fusion = blank(x.shape[1], dim, reduction)
    values = {f"{name}.kernel": case[f"W_{theirs}"] for name, theirs in LAYERS.items()}
    values |= {f"{name}.bias": case[f"b_{theirs}"] for name, theirs in LAYERS.items()}
    values |= {"bn1.scale": case["bn_weight"], "bn1.bias": case["bn_bias"], **running(case, "bn_running_")}
    assign(fusion, prefixed("gates", values))
    p_h, p_w, gates, tokens = run(fusion, x, mask, graph, by=steps)
    yield "pool_nodes", p_h, case["pool_nodes"][order]
    yield "pool_modalities", p_w, case["pool_modalities"]
    yield "gate_node", gates.node, case["gate_node"][order]
    yield "gate_modality", gates.modality, case["gate_modality"]
    yield "out", tokens, case["out"][order]
