"""GL-DMNet: mutual fusion on a graph and on images, and the two stand-ins for attention by a fixed rule."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.danet import DANet
from fusion_jax.fusion.gl_dmnet import GLDMNet
from fusion_jax.fusion.s2ma import S2MA
from fusion_jax.graphs import Graph
from fusion_jax.nn.stencil import StencilLinear, around
from tests.helpers import assign, run
from tests.torch_names import torch_linear


def convolution(module, prefix, case, name):
    """A block's linear map, norm and running statistics; its kernel may look at any number of places."""
    weight = case[f"{name}.weight"]
    if weight.ndim == 4:  # [out, in, k, k]
        weight = weight.reshape(*weight.shape[:2], -1).transpose(2, 1, 0)  # [k k, in, out]
    else:  # [out, views in]
        weight = weight.T[None]
    views, dim, out = weight.shape
    module.linear = nnx.eval_shape(lambda: StencilLinear(dim, out, views=views, use_bias=True, rngs=nnx.Rngs(0)))
    return {
        f"{prefix}.linear.kernel": weight.reshape(-1, weight.shape[-1]),
        f"{prefix}.linear.bias": case[f"{name}.bias"],
        f"{prefix}.norm.scale": case[f"{name}.bn.weight"],
        f"{prefix}.norm.bias": case[f"{name}.bn.bias"],
        f"{prefix}.norm.mean": case[f"{name}.bn.running_mean"],
        f"{prefix}.norm.var": case[f"{name}.bn.running_var"],
    }


def build(case, streams, dim, **options):
    """`streams` are the names of the modalities in the case."""
    width, hidden = len(case["param/sp.conv1.bias"]), len(case["param/fc.0.bias"])
    reduction = max(1, len(streams) * width // hidden)
    options = dict(out_dim=width, reduction=reduction, **options)
    fusion = nnx.eval_shape(lambda: GLDMNet(len(streams), dim, **options, rngs=nnx.Rngs(0)))
    values = {}
    for m, stream in enumerate(streams):
        for conv in ("conv1", "conv3"):
            module = getattr(fusion.reduce[m], conv)
            values |= convolution(module, f"reduce.{m}.{conv}", case, f"param/reduce.{stream}.{conv}")
    for part in ("pmf", "cmf"):
        for conv in ("conv1", "conv3"):
            values |= convolution(getattr(getattr(fusion, part), conv), f"{part}.{conv}", case, f"param/{part}.{conv}")
    for ours, theirs in (("spatial", "spatial.conv7"), ("sp", "sp.conv1"), ("ch", "ch.conv1")):
        values |= convolution(getattr(fusion, ours), ours, case, f"param/{theirs}")
    values |= torch_linear("fc1", case, "param/fc.0") | torch_linear("fc2", case, "param/fc.2")
    return assign(fusion, values)


def modalities(case):
    return len({name.split(".")[1] for name in case if name.startswith("param/reduce.")})


def mutual_fusion_graph(case):
    x, mask, counts = case["x"], case["mask"], np.bincount(case["graph_id"])
    graph = Graph.create(case["senders"], case["receivers"], counts)
    streams = [str(m) for m in range(x.shape[1])]

    def steps_and_call(fusion, x, mask):
        near = [around(graph, mask[:, m]) for m in range(x.shape[1])]
        return fusion.steps(x, mask, graph, near, around(graph, mask.any(1))), fusion(x, mask, graph).out

    for over, end in (("graph", ""), ("edges", "_edges")):
        fusion = build(case, streams, x.shape[-1], over=over)
        steps, out = run(fusion, x, mask, by=steps_and_call)
        named = {f"P{end}": steps.by_position, f"f_pmf{end}": steps.f_pmf, f"out{end}": steps.out}
        named |= dict(f=steps.f, w_spatial=steps.w_spatial, f_sp=steps.f_sp, w_channel=steps.w_channel)
        named |= dict(f_ch=steps.f_ch, Mc=steps.channel_affinity, C=steps.by_channel, f_cmf=steps.f_cmf)
        for name, ours in named.items():
            yield f"{name}, over {over}", ours, case[name]
        yield f"out of the call, over {over}", out, case[f"out{end}"]
        if over == "graph":
            yield "sums of Ms", steps.affinity, case["Ms"].sum(1).T


def shifted(shape, size):
    """The views of a size x size convolution of positions [B H W, ..., D], zeros outside the plane."""
    batch, height, width = shape
    pad = size // 2

    def views(x):
        plane = x.reshape(batch, height, width, *x.shape[1:])
        wide = jnp.pad(plane, [(0, 0), (pad, pad), (pad, pad)] + [(0, 0)] * (x.ndim - 1))
        seen = [wide[:, i : i + height, j : j + width] for i, j in itertools.product(range(size), repeat=2)]
        return jnp.stack(seen, axis=-2).reshape(*x.shape[:-1], size * size, x.shape[-1])

    return views


def mutual_fusion_image(case):
    streams = list(dict.fromkeys(name.split(".")[1] for name in case if name.startswith("param/reduce.")))
    maps = [np.moveaxis(case[name], 1, -1) for name in streams]  # [B, H, W, D]
    shape, dim = maps[0].shape[:3], maps[0].shape[-1]
    batch, places = shape[0], shape[1] * shape[2]
    x = np.stack([m.reshape(-1, dim) for m in maps], axis=1)
    mask, graph = np.ones(x.shape[:2], bool), Graph.create([], [], np.full(batch, places))
    size = {name: case[f"param/{name}.weight"].shape[-1] for name in ("pmf.conv3", "spatial.conv7")}
    near, wider = shifted(shape, size["pmf.conv3"]), shifted(shape, size["spatial.conv7"])

    def as_map(y):  # [B H W, C] -> [B, C, H, W]
        return np.moveaxis(y.reshape(*shape, -1), -1, 1)

    def as_rows(y):  # [B H W, C] -> [B, C, N]
        return np.swapaxes(y.reshape(batch, places, -1), 1, 2)

    def steps_of(fusion, x, mask):
        return fusion.steps(x, mask, graph, [near] * len(streams), near, wider=wider)

    fusion = build(case, streams, dim)
    steps = jax.tree.map(np.asarray, run(fusion, x, mask, by=steps_of))
    for m, name in enumerate(streams):
        yield f"f_{name}", as_map(steps.f[:, m]), case[f"f_{name}"]
        yield f"P_{name}", as_rows(steps.by_position[:, m]), case[f"P_{name}"]
        yield f"C_{name}", as_rows(steps.by_channel[:, m]), case[f"C_{name}"]
        yield f"Mc_{name}", steps.channel_affinity[:, m], case[f"Mc_{name}"]
        yield f"sums of Ms_{name}", steps.affinity[:, m].reshape(batch, places), case[f"Ms_{name}"].sum(1)
    yield "P_fused", as_rows(steps.by_position[:, -1]), case["P_fused"]
    yield "C_fused", as_rows(steps.by_channel[:, -1]), case["C_fused"]
    yield "Mc_fused", steps.channel_affinity.sum(1), case["Mc_fused"]
    for name in ("w_spatial", "f_sp", "f_ch", "f_pmf", "f_cmf", "out"):
        yield name, as_map(getattr(steps, name)), case[name]
    yield "w_channel", steps.w_channel, case["w_channel"]
    other = build(case, streams, dim, norm_over="positions")
    found = run(other, x, mask, by=steps_of).out
    yield "norm over positions", as_map(np.asarray(found)), case["out_norm_over_positions"]


def on_maps(case, name):
    """A map [B, C, H, W] as rows [B H W, C] of a batch of graphs without edges."""
    rows = np.moveaxis(case[name], 1, -1)
    graph = Graph.create([], [], np.full(rows.shape[0], rows.shape[1] * rows.shape[2]))
    return jnp.asarray(rows.reshape(-1, rows.shape[-1])), graph, lambda y: jnp.moveaxis(y.reshape(rows.shape), -1, 1)


def plain(case, name):
    """A 1 x 1 convolution as a linear map: {kernel, bias}."""
    return {"kernel": case[f"{name}.weight"][:, :, 0, 0].T, "bias": case[f"{name}.bias"]}


def standin_danet(case):
    x, graph, as_map = on_maps(case, "x")
    values = {"pam.gamma": case["param/PAM.gamma"], "cam.gamma": case["param/CAM.gamma"]}
    for conv in ("query_conv", "key_conv", "value_conv"):
        values |= {f"pam.{conv}.{k}": v for k, v in plain(case, f"param/PAM.{conv}").items()}
    fusion = DANet(1, x.shape[-1], rngs=nnx.Rngs(0))
    narrow = len(case["param/PAM.query_conv.bias"])
    fusion.pam.query_conv, fusion.pam.key_conv = (nnx.Linear(x.shape[-1], narrow, rngs=nnx.Rngs(0)) for _ in range(2))
    fusion = assign(fusion, values)
    everybody = jnp.ones(len(x), bool)
    yield "position", as_map(fusion.pam(x, graph, everybody)), case["out_position"]
    yield "channel", as_map(fusion.cam(x, graph)), case["out_channel"]
    both = case["out_position"] + case["out_channel"]
    yield "both", as_map(fusion(x[:, None], everybody[:, None], graph).out), both


def standin_s2ma(case):
    names = {"image": ("ImageAfterASPP_bnRelu.0", "R"), "depth": ("DepthAfterASPP_bnRelu.0", "F")}
    found = [on_maps(case, name) for name in names]
    x, graph = jnp.stack([rows for rows, _, _ in found], axis=1), found[0][1]
    fusion = S2MA(2, x.shape[-1], rngs=nnx.Rngs(0))
    values = {}
    for m, (norm, letter) in enumerate(names.values()):
        narrow = len(case[f"param/{letter}_g.bias"])
        for part in ("theta", "phi", "g"):
            setattr(fusion.streams[m], part, nnx.Linear(x.shape[-1], narrow, rngs=nnx.Rngs(0)))
        fusion.streams[m].W = nnx.Linear(narrow, x.shape[-1], rngs=nnx.Rngs(0))
        for part in ("theta", "phi", "g", "W"):
            values |= {f"streams.{m}.{part}.{k}": v for k, v in plain(case, f"param/{letter}_{part}").items()}
        ours = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
        values |= {f"streams.{m}.norm.{k}": case[f"param/{norm}.{v}"] for k, v in ours.items()}
    fusion = assign(fusion, values | {"alpha": np.ones(2)})
    mask = jnp.ones(x.shape[:2], bool)
    h = [one(x[:, m], mask[:, m], False) for m, one in enumerate(fusion.streams)]
    read = fusion.attend(h, mask, graph, [jnp.asarray(case["alpha"])] * 2)
    for y, name, (rows, _, as_map) in zip(read, names, found, strict=True):
        yield name, as_map(rows + y), case[f"out_{name}"]
