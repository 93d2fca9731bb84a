"""HFF-Net: pyramid, learned Laplacian, frequency attention and the focal frequency distance.

A volume is a grid whose rows are the positions of its planes; its slices stand where the modalities of a node are.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.focal_frequency import focal_frequency
from fusion_jax.nn.frequency_attention import FrequencyAttention
from fusion_jax.nn.learned_laplacian import LearnedLaplacian
from fusion_jax.nn.pyramid import laplacian, pyramid
from tests.helpers import assign, parameters, to_float64
from tests.torch_names import torch_linear


def shifts(x, shape):
    """The neighbours of every position of an image x [..., *image, C], zeros outside: [..., *image, K, C]."""
    image = x.ndim - 1 - len(shape)
    axes = range(image, x.ndim - 1)
    pad = [(0, 0)] * x.ndim
    for axis, size in zip(axes, shape, strict=True):
        pad[axis] = (size // 2, size // 2)
    wide = jnp.pad(jnp.asarray(x), pad)
    views = []
    for offset in itertools.product(*map(range, shape)):
        at = [slice(None)] * x.ndim
        for axis, o in zip(axes, offset, strict=True):
            at[axis] = slice(o, o + x.shape[axis])
        views.append(wide[tuple(at)])
    return jnp.stack(views, -2)


def alc(case):
    x = np.moveaxis(case["x"], 1, -1)
    kernel = case["param/conv.weight"]  # [out, in, 3, 3, 3]
    ours = to_float64(LearnedLaplacian(x.shape[-1], tuple(case["laplacian"].ravel())))
    moved = shifts(x, case["laplacian"].shape)
    yield "laplacian init", jnp.moveaxis(ours(jnp.asarray(x), moved), -1, 1), case["out_laplacian_init"]
    ours.kernel.set_value(jnp.asarray(kernel.reshape(*kernel.shape[:2], -1).T))
    yield "trained", jnp.moveaxis(ours(jnp.asarray(x), moved), -1, 1), case["out_trained"]
    yield "distance", ours.distance(), case["reg_sum"]


def attention(case, modules, rank=None):
    """`modules`: the names in the case of what gates channels, positions and slices."""
    _, channels, slices, *_ = case["x"].shape
    semantic, positional, along = modules
    kernel = case[f"param/{positional}.conv.weight"]  # [1, 2, k, k, k] over a plane: the middle slice acts
    plane = kernel[0, :, kernel.shape[2] // 2]
    values = {
        "positional.kernel": plane.reshape(2, -1).T.reshape(-1, 1),
        "positional.bias": case[f"param/{positional}.conv.bias"],
    }
    for ours, theirs in (("semantic", semantic), ("slice.mlp", along)):
        for name, i in (("fc1", 0), ("fc2", 2)):
            values |= torch_linear(f"{ours}.{name}", case, f"param/{theirs}.linear.{i}")
    if rank is not None:
        for name in ("mean", "log_diag", "factor"):
            values |= torch_linear(f"slice.{name}", case, f"param/{along}.{name}")
    hidden = len(values["semantic.fc1.bias"])
    options = dict(reduction=channels // hidden, uncertainty=rank is not None, rank=rank or 1, views=plane[0].size)
    ours = FrequencyAttention(slices, channels, **options, rngs=nnx.Rngs(0))
    expansion = len(values["slice.mlp.fc1.bias"]) // slices
    assert parameters(ours)["slice.mlp.fc1.bias"].shape == (expansion * slices,)
    return assign(ours, values), plane.shape[1:]


def as_rows(x):
    """[1, C, S, H, W] -> rows [H W, S, 1, C]"""
    return jnp.moveaxis(jnp.asarray(x[0]), (0, 1), (3, 2)).reshape(-1, x.shape[2], 1, x.shape[1])


def as_volume(rows, like):
    _, channels, slices, height, width = like.shape
    return jnp.moveaxis(rows.reshape(height, width, slices, channels), (3, 2), (0, 1))[None]


def stencil(case, shape):
    plane = case["x"].shape[-2:]

    def views(x):
        return shifts(x.reshape(*plane, x.shape[-1]), shape).reshape(x.shape[0], -1, x.shape[-1])

    return views


def whole(case, rank=None, draw=None):
    ours, shape = attention(case, ("semantic_att", "positional_att", "slice_att"), rank)
    spectrum = np.fft.fftn(case["x"], axes=(2, 3, 4), norm="ortho")
    r = as_rows(spectrum.real)
    mask = jnp.ones(r.shape[:2], bool)
    gates = np.asarray(as_volume(ours(r, mask, None, stencil(case, shape), draw=draw), case["x"]))
    return ours, shape, r, mask, np.fft.ifftn(spectrum * gates, axes=(2, 3, 4), norm="ortho").real


def fdca_deterministic(case):
    yield "out", whole(case)[-1], case["out"]


def fdca_uncertain(case):
    ours, shape, r, mask, out = whole(case, int(case["rank"]), jnp.asarray(case["drawn_sample"]))
    yield "out", out, case["out"]
    for gate in (lambda r: ours.over_features(r, mask, None), lambda r: ours.over_nodes(r, mask, stencil(case, shape))):
        r = r * ours.gated(r, gate(r))
    pooled = [f(r, axis=(0, 2, 3))[None] for f in (jnp.max, jnp.mean)]
    found = ours.slice.distribution(ours.slice.mlp(pooled[0]) + ours.slice.mlp(pooled[1]))
    for name, value in zip(("loc", "cov_factor", "cov_diag"), found, strict=True):
        yield name, value, case[name]


def submodules(case):
    ours, shape = attention(case, ("semantic", "positional", "slice"))
    r = as_rows(case["x"])
    mask = jnp.ones(r.shape[:2], bool)
    found = {
        "semantic": ours.over_features(r, mask, None),
        "positional": ours.over_nodes(r, mask, stencil(case, shape)),
        "slice_deterministic": ours.over_modalities(r, mask, None, None),
    }
    for name, attention_ in found.items():
        yield name, as_volume(ours.gated(r, attention_), case["x"]), case[name]


def focal_frequency_loss(case):
    spectrum = np.fft.fftn(case["pred"] - case["target"], axes=(1, 2, 3), norm="ortho")  # of classes, depth, height
    batch, classes = spectrum.shape[:2]
    rows = jnp.asarray(np.moveaxis(spectrum.reshape(batch, classes, -1), 1, 2).reshape(-1, 1, classes))
    none = np.array([], int)
    graph = Graph.create(none, none, np.full(batch, len(rows) // batch))
    yield "loss", focal_frequency(rows, jnp.ones(len(rows), bool), graph), case["loss"]


def graph_pyramid_independent(case):
    x = jnp.asarray(case["x"])
    graph = Graph.create(case["senders"], case["receivers"], len(x))
    matrix = laplacian(jnp.eye(len(x), dtype=x.dtype), graph)
    yield "laplacian", matrix, case["laplacian"]
    yield "eigenvalues", np.linalg.eigvalsh(matrix), case["eigenvalues"]
    low, high = pyramid(x, graph, int(case["levels"]))
    yield "low", low, case["low"]
    yield "high", jnp.stack(high), case["high"]
    yield "reconstruction", low + sum(high), case["reconstruction"]
    ours = to_float64(LearnedLaplacian(x.shape[1]))
    yield "alc", ours(x, -laplacian(x, graph)[..., None, :]), case["alc_laplacian_init"]
    # presence: the isolated node being absent changes nobody else
    out = pyramid(x, graph, int(case["levels"]), jnp.asarray(case["laplacian"].any(1)))[0]
    joined = case["laplacian"].any(1)
    yield "low among the joined", jax.device_get(out)[joined], case["low"][joined]
