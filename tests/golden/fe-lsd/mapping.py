"""FE-LSD: fusions and their parts on planes, a graph a plane and its positions the nodes.

From lh9171338/FE-LSD at e5eb91e; `shallow_gate_masked_independent` is independent arithmetic. Convolutions over
positions take the places of the maps over neighbours and clusters; all else is ours.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.fe_lsd import FeLsd
from fusion_jax.fusion.fe_lsd_ca_fusion import FeLsdCaFusion
from fusion_jax.fusion.fe_lsd_hourglass.transformer_fusion import TransformerFusion
from fusion_jax.graphs import Graph
from fusion_jax.nn.streams import GroupedBottleneck
from fusion_jax.structures.partition import Parts
from tests.helpers import assign, filled, prefixed, run

NOBODY = np.array([], int)


class PlaneConv(nnx.Module):
    """A convolution that keeps the size, in the place of a map over neighbours; nodes are the positions of planes."""

    def __init__(self, weight, bias, height, width):
        self.weight, self.bias = nnx.Param(jnp.asarray(weight)), nnx.Param(jnp.asarray(bias))
        self.size = height, width

    def __call__(self, x, graph, present=None):
        planes = x.reshape(-1, *self.size, x.shape[-1]).transpose(0, 3, 1, 2)
        weight = self.weight[...]
        pad, groups = weight.shape[-1] // 2, planes.shape[1] // weight.shape[1]
        dims = ("NCHW", "OIHW", "NCHW")
        y = jax.lax.conv_general_dilated(
            planes, weight, (1, 1), [(pad, pad)] * 2, dimension_numbers=dims, feature_group_count=groups
        )
        return y.transpose(0, 2, 3, 1).reshape(x.shape[0], -1) + self.bias[...]


class StridedConv(nnx.Module):
    """The reference's reduction of patches, in the place of clusters' means."""

    def __init__(self, weight, bias):
        self.weight, self.bias = nnx.Param(jnp.asarray(weight)), nnx.Param(jnp.asarray(bias))

    def __call__(self, z, present, parts):
        weight = self.weight[...].reshape(*self.weight.shape[:2], -1)  # [out, in, places of a patch]
        return jnp.einsum("pbc,ocb->po", z[parts.members], weight) + self.bias[...]


def as_nodes(planes, streams):
    """[B, M C, H, W] -> [B H W, M, C]"""
    b, channels, h, w = planes.shape
    x = planes.reshape(b, streams, channels // streams, h * w).transpose(0, 3, 1, 2)
    return x.reshape(b * h * w, streams, channels // streams)


def as_planes(tokens, like):
    """[B H W, ..., C] -> as [B, M C, H, W]"""
    b, _, h, w = like.shape
    return jnp.asarray(tokens).reshape(b, h * w, -1).swapaxes(1, 2).reshape(b, -1, h, w)


def graphs(planes):
    """A graph without edges for each plane."""
    b, _, h, w = planes.shape
    return Graph.create(NOBODY, NOBODY, np.full(b, h * w))


def conv(case, name, rows=slice(None)):
    """{kernel, bias} of a 1 x 1 convolution, of some of its outputs."""
    values = {"kernel": case[f"param/{name}.weight"][rows, :, 0, 0].T}
    bias = f"param/{name}.bias"
    return values | ({"bias": case[bias][rows]} if bias in case else {})


def norm(case, name, rows=slice(None)):
    """{scale, bias, mean, var} of a batch norm, {scale, bias} of a layer norm over channels."""
    names = dict(scale="weight", bias="bias", mean="running_mean", var="running_var")
    held = {ours: f"param/{name}.{theirs}" for ours, theirs in names.items()}
    return {ours: case[key].reshape(-1)[rows] for ours, key in held.items() if key in case}


def bottleneck(case, name, group=0, groups=1):
    """One group of a bottleneck, without its convolution over positions."""

    def rows(part):
        each = len(case[f"param/{name}{part}.weight"]) // groups
        return slice(group * each, (group + 1) * each)

    values = {}
    for part in ("bn1", "bn2", "bn3"):
        values |= prefixed(part, norm(case, name + part, rows(part)))
    for part in ("conv1", "conv3"):
        values |= prefixed(part, conv(case, name + part, rows(part)))
    middle = rows("conv2")
    return values, case[f"param/{name}conv2.weight"][middle], case[f"param/{name}conv2.bias"][middle]


def put_bottleneck(module, values, weight, bias, like):
    module.conv2 = PlaneConv(weight, bias, *like.shape[2:])
    return assign(module, {**values, "conv2.weight": weight, "conv2.bias": bias})


def streams_of(case):
    """The number of channel attentions is that of the streams."""
    return len({name.split(".")[1] for name in case if name.startswith("param/ca.")})


def attention_values(case, streams):
    values = {}
    for m in range(streams):
        for ours, theirs in (("fc1", 0), ("fc2", 2)):
            values |= prefixed(f"ca.{m}.fc.{ours}", conv(case, f"ca.{m}.fc.{theirs}"))
    return values


def reduction_of(case):
    hidden, dim = case["param/ca.0.fc.0.weight"].shape[:2]
    return reduction(dim, hidden)


def reduction(dim, hidden):
    return next(r for r in range(1, dim + 1) if dim // r == hidden)


def steps(fusion, x, mask, graph):
    joint = fusion.joint(x)
    gates = fusion.gates(joint, mask, graph)
    return joint, gates, fusion.crossed(x, mask, gates, graph)


def steps_and_tokens(fusion, x, mask, graph):
    return *steps(fusion, x, mask, graph), fusion(x, mask, graph).tokens


def ca_modulation(case):
    streams, planes = streams_of(case), case["x"]
    x, graph = jnp.asarray(as_nodes(planes, streams)), graphs(planes)
    fusion = nnx.eval_shape(lambda: FeLsd(streams, x.shape[2], reduction=reduction_of(case), rngs=nnx.Rngs(0)))
    for m, group in enumerate(fusion.res.groups):
        put_bottleneck(group, *bottleneck(case, f"res.{m}."), planes)
    assign(fusion, {**attention_values(case, streams), **prefixed("conv", conv(case, "conv"))}, partial=True)
    mask = jnp.ones(x.shape[:2], bool)
    joint, gates, _, tokens = run(fusion, x, mask, graph, by=steps_and_tokens)
    yield "fused_in", as_planes(joint, planes), case["fused_in"]
    for m in range(streams):
        yield f"ca{m}", gates[:, m, :, None, None], case[f"ca{m}"]
    yield "out", as_planes(tokens, planes), case["out"]


def ca_fusion_ablation(case):
    streams, planes = streams_of(case), case["x"]
    x, graph = jnp.asarray(as_nodes(planes, streams)), graphs(planes)
    fusion = nnx.eval_shape(lambda: FeLsdCaFusion(streams, x.shape[2], reduction=reduction_of(case), rngs=nnx.Rngs(0)))
    assign(fusion, attention_values(case, streams))
    yield "out", as_planes(run(fusion, x, np.ones(x.shape[:2], bool), graph).out, planes), case["out"]


def grouped_bottleneck(case):
    groups, planes = case["groups"].item(), case["x"]
    x, graph = jnp.asarray(as_nodes(planes, groups)), graphs(planes)
    module = nnx.eval_shape(lambda: GroupedBottleneck(groups, x.shape[2], norm="batch", rngs=nnx.Rngs(0)))
    for m, group in enumerate(module.groups):
        put_bottleneck(group, *bottleneck(case, "", m, groups), planes)

    def in_evaluation(module, x):
        return module(x, jnp.ones(x.shape[:2], bool), graph, training=False)

    out = run(module, x, by=in_evaluation)
    yield "out", as_planes(out, planes), case["out"]


def patches(planes, ratio):
    """The partition of every plane into patches of ratio x ratio positions, row by row."""
    b, _, h, w = planes.shape
    ids = np.arange(b * h * w).reshape(b, h // ratio, ratio, w // ratio, ratio).transpose(0, 1, 3, 2, 4)
    members = ids.reshape(-1, ratio * ratio)
    each, (parts, room) = h * w // ratio**2, members.shape
    order = np.argsort(members.reshape(-1))
    return Parts(
        part=jnp.asarray(order // room),
        local=jnp.asarray(order % room),
        members=jnp.asarray(members),
        valid=jnp.ones((parts, room), bool),
        size=jnp.full(parts, room),
        graph=jnp.arange(parts) // each,
        slot=jnp.arange(parts) % each,
        of_graph=jnp.arange(parts).reshape(b, each),
        cut=jnp.zeros(b),
    )


def transformer_fusion(case):
    planes, heads, ratio = case["x"], case["num_heads"].item(), case["sr_ratio"].item()
    dim, joined = case["param/conv.weight"].shape[:2]
    x, graph, parts = jnp.asarray(as_nodes(planes, joined // dim)), graphs(planes), patches(planes, ratio)
    layer, slots = "block.layer.0.", int(parts.slot.max()) + 1
    make = functools.partial(TransformerFusion, joined // dim, dim, heads, positions=slots, norm="batch")
    module = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    values = {
        **prefixed("conv", conv(case, "conv")),
        **prefixed("norm1", norm(case, "block.norm1")),
        **prefixed("norm2", norm(case, "block.norm2")),
        **prefixed("layer.norm1", norm(case, layer + "norm1")),
        **prefixed("layer.norm2", norm(case, layer + "norm2")),
        **prefixed("layer.attn.norm", norm(case, layer + "attn.norm")),
    }
    for part in ("query", "key", "value", "proj"):
        values |= prefixed(f"layer.attn.{part}", conv(case, f"{layer}attn.{part}"))
    for ours, (linear, batch) in dict(conv1=("conv1.0", "conv1.2"), conv3=("conv3.0", "conv3.1")).items():
        values |= prefixed(f"layer.ffn.{ours}", conv(case, f"{layer}ffn.{linear}"))
        values |= prefixed(f"layer.ffn.bn{ours[-1]}", norm(case, f"{layer}ffn.{batch}"))
    values |= prefixed("layer.ffn.bn2", norm(case, f"{layer}ffn.conv2.2"))
    along_h, along_w = (case[f"param/{layer}attn.{name}"] for name in ("rel_h", "rel_w"))
    position = (along_h + along_w)[0].reshape(heads, dim // heads, -1).transpose(2, 0, 1)
    for path, theirs in (("layer.attn.sr", "attn.sr"), ("layer.ffn.conv2", "ffn.conv2.0")):
        values |= {f"{path}.{kind}": case[f"param/{layer}{theirs}.{kind}"] for kind in ("weight", "bias")}
    module.layer.attn.sr = StridedConv(*held_at(values, "layer.attn.sr"))
    module.layer.ffn.conv2 = PlaneConv(*held_at(values, "layer.ffn.conv2"), *planes.shape[2:])
    assign(module, {**values, "layer.attn.position": position})
    mask = jnp.ones(x.shape[:2], bool)
    forms = {"blocks": graph, "one matrix": unsized(graph)}

    def in_each(module, x):
        return {name: module(x, mask, held, parts, ratio**2, training=False)[0] for name, held in forms.items()}

    for name, out in run(module, x, by=in_each).items():
        yield f"out, attending in {name}", as_planes(out, case["out"]), case["out"]


def held_at(values, path):
    return values[f"{path}.weight"], values[f"{path}.bias"]


def unsized(graph):
    """The same graph, of which the largest is not known while compiling."""
    return dataclasses.replace(graph, largest=0)


def shallow_gate_masked_independent(case):
    order = np.argsort(case["graph_id"], kind="stable")
    mask = case["mask"][order]
    x = np.where(mask[..., None], case["x"][order], 0)
    graph = Graph.create(NOBODY, NOBODY, np.bincount(case["graph_id"], minlength=len(case["gate"])))
    streams, dim, hidden = case["W_ca1"].shape
    make = functools.partial(FeLsd, streams, dim, reduction=reduction(dim, hidden))
    fusion = filled(lambda: make(rngs=nnx.Rngs(0)), lambda _, shape: np.zeros(shape))
    values = {"conv.kernel": case["W_joint"], "conv.bias": case["b_joint"]}
    for m in range(streams):
        values |= {f"ca.{m}.fc.fc1.kernel": case["W_ca1"][m], f"ca.{m}.fc.fc2.kernel": case["W_ca2"][m]}
    assign(fusion, values, partial=True)
    joint, gates, crossed = run(fusion, x, mask, graph, by=steps)
    yield "joint", joint, case["joint"][order]
    yield "gate", gates, case["gate"]
    yield "fused_before_bottleneck", crossed, case["fused_before_bottleneck"][order]
