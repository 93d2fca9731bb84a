"""DFYP: channel attention with pixels as nodes, operators with images filtered by our kernels, the two branches.

On an image the squares under an operator's root are those of two convolutions, on a graph mean squared differences;
kernel, root, factor, choice and blend are the same.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.dfyp import DFYP, Transformer
from fusion_jax.graphs import Graph
from fusion_jax.nn.gradient_operators import (
    ChannelAttention,
    Operator,
    Operators,
    Selection,
    blend,
    squared_differences,
)
from fusion_jax.nn.rings import one_hop, two_hop
from fusion_jax.structures.base import Structure, derive
from tests.golden_options import matching
from tests.helpers import assign
from tests.torch_names import torch_linear, torch_norm

TABLES = (
    {2009: "scharr", 2011: "sobel"},
    {2009: "scharr", 2010: "scharr", 2013: "scharr", 2011: "sobel", 2015: "sobel"},
)
PAIRS = Structure("two_hop")
GREY = np.array([0.299, 0.587, 0.114])


def nodes(x):
    """[B, C, H, W] -> [B H W, 1, C], a pixel a node of one modality."""
    return jnp.asarray(np.moveaxis(x, 1, -1).reshape(-1, 1, x.shape[1]))


def image(y, like):
    batch, channels, *plane = like.shape
    return jnp.moveaxis(jnp.asarray(y).reshape(batch, *plane, channels), -1, 1)


def images(x):
    """A graph an image, without edges."""
    return Graph.create(np.zeros(0, int), np.zeros(0, int), np.full(len(x), x[0, 0].size))


def made(name, case):
    """An operator with the numbers of the case."""
    values = {"alpha": case["alpha"], "scale": case["scale"]} if name == "learnable" else {}
    return assign(Operator(name), values)


def filtered(operator, x):
    """The response on images [B, C, H, W]: both convolutions with the operator's kernel, zeros around the image."""
    a, b = np.asarray(operator.kernel(jnp.float64))
    across = np.array([[-b, 0, b], [-a, 0, a], [-b, 0, b]])
    height, width = x.shape[-2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    squares = 0
    for kernel in (across, across.T):
        shifts = (kernel[i, j] * padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3))
        squares = squares + sum(shifts) ** 2
    return operator.response(jnp.asarray(squares))


def channel_attention(case):
    x = case["x"]
    mask = jnp.ones((len(x) * x[0, 0].size, 1), bool)
    for resolution, name, out in (
        ("coarse", "SEBlock", "out_maxpool_modis"),
        ("fine", "SentinelSEBlock", "out_avgpool_sentinel"),
    ):
        reduction = x.shape[1] // len(case[f"param/{name}.fc.0.weight"])
        values = torch_linear("fc1", case, f"param/{name}.fc.0") | torch_linear("fc2", case, f"param/{name}.fc.2")
        module = assign(ChannelAttention(x.shape[1], resolution, reduction, rngs=nnx.Rngs(0)), values)
        yield out, image(module(nodes(x), mask, images(x))[0], x), case[out]


def routed(case, table):
    """The responses of the operators that the table gives each image, put together."""
    x = case["x"]
    selection = Selection("table", "learnable", [table.get(int(year), "learnable") for year in case["year"]])
    operators = Operators(x.shape[1], selection.checked("operators"), rngs=nnx.Rngs(0))
    for operator in operators.operators:
        if operator.name == "learnable":
            assign(operator, {"alpha": case["alpha"], "scale": case["scale"]})
    shares = operators.shares(jnp.zeros(x.shape[:2]))
    y = operators.routed([nodes(filtered(o, x)) for o in operators.operators], shares, images(x))
    return {"y": image(y, x)}


def operators(case):
    for name in ("sobel", "scharr", "learnable"):
        yield name, filtered(made(name, case), case["x"]), case[name]
    response = matching(lambda table: routed(case, table), [(table,) for table in TABLES], case["routed"])["y"]
    yield "routed", response, case["routed"]
    yield "blended", blend(response, case["x"], case["operator_weight"]), case["blended"]


def transformer_values(case, layer):
    """A layer of the reference's transformer, `layers.<i>.` onto ours."""
    values = {}
    for ours, theirs in (("norm1", "0.norm"), ("norm2", "1.net.0")):
        values |= torch_norm(f"{layer}.{ours}", case, f"param/{layer}.{theirs}")
    for ours, theirs in (("linear1", "1.net.1"), ("linear2", "1.net.4")):
        values |= torch_linear(f"{layer}.{ours}", case, f"param/{layer}.{theirs}")
    parts = np.split(case[f"param/{layer}.0.to_qkv.weight"], 3)
    for part, weight in zip(("query", "key", "value"), parts, strict=True):
        values[f"{layer}.attn.{part}.kernel"] = weight.T
    if f"param/{layer}.0.to_out.0.weight" in case:
        return values | torch_linear(f"{layer}.attn.out", case, f"param/{layer}.0.to_out.0")
    width = len(parts[0])  # one head as wide as the tokens: the reference leaves the projection out
    return values | {f"{layer}.attn.out.kernel": np.eye(width), f"{layer}.attn.out.bias": np.zeros(width)}


def branch_fusion(case):
    tokens = case["tokens"]
    depth = len({name.split(".")[1] for name in case if name.startswith("param/layers.")})
    heads, head_dim = int(case["heads"]), int(case["dim_head"])
    hidden = len(case["param/layers.0.1.net.1.bias"])
    module = Transformer(tokens.shape[-1], depth, heads, head_dim, hidden, rngs=nnx.Rngs(0))
    values = torch_norm("norm", case, "param/norm")
    for i in range(depth):
        values |= transformer_values(case, f"layers.{i}")
    out, _ = assign(module, values)(jnp.asarray(tokens))
    yield "transformer_out", out, case["transformer_out"]
    far = out.mean((1, 2))[:, None]
    yield "vit_out", far, case["vit_out"]
    fusion = DFYP(1, 1, depth=1, rngs=nnx.Rngs(0))
    assign(fusion, {"a1": case["a1"], "a2": case["a2"]}, partial=True)
    yield "fused", fusion.joined(jnp.asarray(case["cnn_out"]), far), case["fused"]


def sentinel_gate_scharr(case):
    x = case["x"]
    grey = np.tensordot(GREY, x, (0, 1))[:, None]
    yield "out", blend(filtered(Operator("scharr"), grey), x, case["operator_weight"]), case["out"]


def graph_operators_independent(case):
    x = jnp.asarray(case["x"])[:, None]
    graph = derive([Graph.create(case["senders"], case["receivers"], len(x))], (PAIRS,))[0]
    far = two_hop(graph.structure(PAIRS), graph)
    pairs = np.zeros_like(case["two_hop"])
    pairs[np.asarray(far[0].receivers), np.asarray(far[0].senders)] = True
    yield "two_hop", pairs, case["two_hop"]
    mask = jnp.ones((len(x), 1), bool)
    squares = [squared_differences(x, mask, ring) for ring in (one_hop(graph), far)]
    for name in ("sobel", "scharr", "learnable"):
        yield name, made(name, case)(*squares)[:, 0], case[name]
