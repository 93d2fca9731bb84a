"""Flickerformer: the phase fusion module, the autocorrelation feed-forward, Haar bands and the directional attention.

Images are rows of positions: a stencil is the nine shifts of a 3 x 3 convolution, and a window of attention is a graph
in which everybody sees everybody. One level of the Haar transform is twice one level of the Laplacian pyramid on
graphs of pairs, along the columns and along the rows, read off at one pixel of each block.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion import flickerformer as pfm_module
from fusion_jax.fusion.flickerformer import Flickerformer, PhaseGate
from fusion_jax.graphs import Graph
from fusion_jax.nn.directional_attention import DirectionalAttention
from fusion_jax.nn.gated_autocorrelation import GatedAutocorrelation
from fusion_jax.nn.pyramid import pyramid
from fusion_jax.nn.stencil import StencilLinear
from tests.helpers import assign, run, shown

RTOL = {"affn_float32": 1e-4}


def last(x):
    return jnp.moveaxis(jnp.asarray(x), 1, -1)


def first(x):
    return jnp.moveaxis(jnp.asarray(x), -1, 1)


def shifts(k):
    """The k x k neighbours of every pixel of x [B, H, W, C], zeros outside: [B, H, W, k k, C]."""

    def views(x):
        p, (h, w) = k // 2, x.shape[1:3]
        wide = jnp.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
        return jnp.stack([wide[:, i : i + h, j : j + w] for i in range(k) for j in range(k)], -2)

    return views


def kernel(weight):
    """A convolution's [out, in, k, k] as the [k k in, out] of a `StencilLinear`."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])


def pointwise(weight):
    return weight[:, :, 0, 0].T


def depthwise(weight):
    return weight[:, 0].reshape(len(weight), -1).T


def grouped(prefix, weight, groups):
    return {f"{prefix}.{i}.kernel": kernel(w) for i, w in enumerate(np.split(weight, groups))}


def pfm(case):
    frames = jnp.split(last(case["x"]), 3, -1)
    spectra = [jnp.fft.rfft2(f, axes=(1, 2)) for f in frames]
    filtered = list(frames)
    for m, net, c, g, cos in (
        (0, "net12", "repo_C12", "gate12", "cos_phase_difference12"),
        (2, "net23", "repo_C23", "gate23", "cos_phase_difference32"),
    ):
        weights = [case[f"param/{net}.{i}.weight"] for i in (0, 2, 4)]
        hidden, dim, k, _ = weights[0].shape
        values = {"first.kernel": kernel(weights[0]), "second.kernel": kernel(weights[1])}
        values["third.kernel"] = pointwise(weights[2])
        net = assign(PhaseGate(dim, hidden, views=k * k, rngs=nnx.Rngs(0)), values)
        seen = pfm_module.correlation(spectra[m], spectra[1], "abs")
        yield c, first(seen), case[c]
        yield cos, first(pfm_module.correlation(spectra[m], spectra[1], "cos")), case[cos]
        gate = net(seen, shifts(k))
        yield g, first(gate), case[g]
        filtered[m] = jnp.fft.irfft2(gate.astype(spectra[m].dtype) * spectra[m], frames[m].shape[1:3], axes=(1, 2))
    weight = case["param/fusion.weight"]
    out = StencilLinear(weight.shape[1], len(weight), views=weight.shape[2] ** 2, use_bias=True, rngs=nnx.Rngs(0))
    assign(out, {"kernel": kernel(weight), "bias": case["param/fusion.bias"]})
    yield "out", first(out(jnp.concatenate(filtered, -1), shifts(weight.shape[2]))), case["out"]


def gates_of_each(fusion, spectra, mask):
    return jax.vmap(fusion.gates)(spectra, mask)


def pfm_feature_axis_independent(case):
    x, mask = case["x"], case["mask"]
    _, m, d = x.shape
    bins, hidden = case["G1"].shape[1:]
    fusion = nnx.eval_shape(lambda: Flickerformer(m, d, expansion=(hidden + 0.5) / bins, rngs=nnx.Rngs(0)))
    values = {f"gate.{name}.kernel": case[g] for name, g in (("first", "G1"), ("second", "G2"), ("third", "G3"))}
    assign(fusion, values | {"fusion.kernel": case["W_out"], "fusion.bias": case["b_out"]})
    c, gates = run(fusion, np.fft.rfft(x), mask, by=gates_of_each)
    yield "correlation", c, case["correlation"]
    yield "gate", gates, case["gate"]
    fused = run(fusion, x, mask)
    yield "filtered", fused.tokens, case["filtered"]
    yield "out", fused.out, case["out"]
    acts = case["mask"][:, 1:] & (np.cumsum(case["mask"], 1) > 1)[:, 1:]
    yield "gates shown", np.moveaxis(shown(fused, "gates"), 1, 2)[:, 1:][acts], case["gate"][acts]


def affn_float32(case):
    x, size = last(case["x"]), int(case["patch_size"])
    wide = case["param/fft"].shape[0]
    k = case["param/dwconv.weight"].shape[-1]
    shape, views = (size, size), k * k
    ours = GatedAutocorrelation(x.shape[-1], wide // 2, groups=wide, shape=shape, views=views, rngs=nnx.Rngs(0))
    values = {f"autocorrelation.{name}": case[f"param/{name}"] for name in ("alpha", "beta")}
    values["autocorrelation.fft"] = case["param/fft"][:, 0, 0]
    values |= {f"{name}.kernel": pointwise(case[f"param/{name}.weight"]) for name in ("project_in", "project_out")}
    values["dwconv.kernel"] = depthwise(case["param/dwconv.weight"])
    assign(ours, values)
    b, h, w, _ = x.shape
    u = ours.project_in(x).reshape(b, h // size, size, w // size, size, wide)
    u = ours.autocorrelation(u.transpose(0, 1, 3, 5, 2, 4)).transpose(0, 1, 4, 2, 5, 3).reshape(b, h, w, wide)
    yield "out", first(ours.gated(u, shifts(k))), case["out"]


def bands(x):
    """LL, LH, HL and HH of an image x [B, H, W, C], at every pixel and without thinning out; half of Haar's."""
    b, h, w, c = x.shape
    pixel = np.arange(b * h * w).reshape(b, h, w)

    def split(x, ids):  # ids [..., pairs, 2]
        pairs = ids.reshape(-1, 2)
        graph = Graph.create(pairs.ravel(), pairs[:, ::-1].ravel(), b * h * w)
        low, (high,) = pyramid(x, graph, 1)
        return low, high

    columns, rows = pixel.reshape(b, h, w // 2, 2), pixel.reshape(b, h // 2, 2, w).swapaxes(2, 3)
    low, high = split(x.reshape(-1, c), columns)
    (ll, lh), (hl, hh) = split(low, rows), split(high, rows)
    return [band.reshape(x.shape) for band in (ll, lh, hl, hh)]


def thinned(band):
    return 2 * band[:, ::2, ::2]


def inverse(four):
    """An image from Haar bands [B, H / 2, W / 2, C]: the undecimated bands they stand for, added."""
    total = 0
    for band, (down, right) in zip(four, ((1, 1), (-1, 1), (1, -1), (-1, -1)), strict=True):
        sign = jnp.kron(jnp.ones(band.shape[1:3]), jnp.array([[1.0, right], [down, down * right]]))
        total = total + sign[..., None] * jnp.repeat(jnp.repeat(band, 2, 1), 2, 2) / 2
    return total


def haar(case):
    four = bands(last(case["x"]))
    for name, band in zip(("LL", "LH", "HL", "HH"), four, strict=True):
        yield name, first(thinned(band)), case[name]
    yield "sum of the bands", first(sum(four)), case["inverse"]
    yield "inverse", first(inverse([thinned(band) for band in four])), case["inverse"]


def wdam(case):
    heads, size, shift = (int(case[k]) for k in ("num_heads", "window_size", "shift_size"))
    x = last(case["x"])
    c = x.shape[-1]
    k = case["param/qkv_dwconv.weight"].shape[-1]
    ours = DirectionalAttention(c, heads, views=k * k, rngs=nnx.Rngs(0))
    values = grouped("high_conv", case["param/high_conv.0.weight"], 2)
    values |= grouped("high_out", case["param/high_out.0.weight"], 3)
    values["high_mix.kernel"] = pointwise(case["param/high_conv.2.weight"])
    values["value.kernel"] = pointwise(case["param/qkv.weight"])[:, -c:]
    values["value_dwconv.kernel"] = depthwise(case["param/qkv_dwconv.weight"])[:, -c:]
    values["project_out.kernel"] = pointwise(case["param/project_out.weight"])
    values["temperature"] = case["param/temperature"].ravel()
    assign(ours, values)
    low, *details = [thinned(band) for band in bands(x)]
    b, h, w, _ = low.shape
    pixel = np.arange(b * h * w).reshape(b, h // size, size, w // size, size)
    tokens = pixel.swapaxes(2, 3).reshape(-1, size * size)  # [windows, tokens]
    count = size * size
    receivers = np.repeat(tokens, count, 1).ravel()
    senders = np.tile(tokens, (1, count)).ravel()
    graph = Graph.create(senders, receivers, b * h * w)
    place = np.empty(b * h * w, int)
    place[tokens.ravel()] = np.tile(np.arange(count), len(tokens))
    index = case["param/relative_position_index"][place[graph.receivers], place[graph.senders]]
    bias = jnp.asarray(case["param/relative_position_bias_table"][index])
    v = ours.values(low, details, shifts(k))
    rolled = jnp.roll(low, (-shift, -shift), (1, 2))
    out, _ = ours.attend(rolled.reshape(-1, c), v.reshape(-1, c), graph, bias=bias)
    out = jnp.roll(out.reshape(low.shape), (shift, shift), (1, 2))
    yield "out", first(inverse([out, *ours.detailed(details, shifts(k))])), case["out"]
