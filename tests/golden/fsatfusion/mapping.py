"""FSATFusion: the gates, the attention, a block and the stack, with images as graphs whose nodes are the pixels.

The Fourier modes of an image are the atoms of the cosine transform that the case gives, and what a pixel sees around
itself is the window of the reference's convolution.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.fsat import FSAM, FSATStack, ITMBlock, Site, SpectralGate, WindowAttention
from tests.golden_options import matching
from tests.helpers import assign, prefixed
from tests.torch_names import torch_linear, torch_norm

TABLE = np.array([[0, 0, 6, 0, 0, 1, 1, 4, 5, 1, 3, 0, 0, 0, 3, 2], [0, 1, 0, 5, 2, 0, 2, 0, 0, 6, 0, 4, 6, 3, 5, 2]])


def nodes(x):
    """[B, C, H, W] -> [B H W, C], a pixel a node."""
    return jnp.asarray(np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]))


def image(y, like):
    batch, channels, *plane = like.shape
    return jnp.moveaxis(jnp.asarray(y).reshape(batch, *plane, channels), -1, 1)


def tokens(x):
    """The memory of [B, C, H, W] read as [B, H W, C], which is what the reference's blocks do."""
    return jnp.asarray(jnp.asarray(x).reshape(-1, x.shape[1]))


def atoms(u, v, channels, height, width):
    """The reference's filters [C, H, W]: an equal run of channels for each of the frequencies (u, v)."""

    def cosines(k, n):
        scale = np.where(k == 0, np.sqrt(1 / n), np.sqrt(2 / n))
        return scale[:, None] * np.cos(np.pi * k[:, None] * (np.arange(n) + 0.5) / n)

    each = cosines(u, height)[:, :, None] * cosines(v, width)[:, None]
    return np.repeat(each, channels // len(each), axis=0)


def pooled_from(filters, height, width):
    """Filters [C, P, Q] of the image [height, width] after adaptive pooling to P x Q, as filters of the image."""

    def pool(out, n):
        ends = [(p * n // out, -(-(p + 1) * n // out)) for p in range(out)]
        return np.array([[(a <= i < b) / (b - a) for i in range(n)] for a, b in ends])

    return pool(filters.shape[1], height).T @ filters @ pool(filters.shape[2], width)


def modes_of(x, size):
    """The filters for images x whose cosine transform has the plane size x size."""
    u, v = TABLE * (size // 7)
    return pooled_from(atoms(u, v, x.shape[1], size, size), *x.shape[2:])


def planes(x):
    """Sizes of the plane of the transform, which no array says: the README's, the image's, the reference's own."""
    return [(size,) for size in dict.fromkeys((14, *x.shape[2:], *range(7, 64, 7), 112, 224))]


def plane(x, filters, size=1):
    """The site of images: `filters` [C, H, W] are the modes, a window of `size` x `size` pixels what is around."""
    batch, _, height, width = x.shape
    n, half = height * width, size // 2
    graph = Graph.create(np.zeros(0, int), np.zeros(0, int), np.full(batch, n))

    def around(d):
        d = jnp.pad(d.reshape(batch, height, width, 2), ((0, 0), (half, half), (half, half), (0, 0)))
        shifts = [d[:, i : i + height, j : j + width] for i in range(size) for j in range(size)]
        return jnp.concatenate(shifts, -1).reshape(batch * n, -1)

    modes = np.tile(filters.reshape(len(filters), -1).T, (batch, 1))
    return Site(graph, jnp.ones(batch * n, bool), jnp.asarray(modes), around, None)


def gate_values(case, prefix):
    return torch_linear("fc1", case, f"{prefix}fc.0") | torch_linear("fc2", case, f"{prefix}fc.2")


def fsam_of(case, prefix, channels):
    """The module, its parameters under our names, and the size of its window."""
    kernel = case[f"{prefix}conv1.weight"]  # [1, 2, K, K]
    hidden = len(case[f"{prefix}channel_attention.fc.0.weight"])
    options = dict(surroundings=kernel[0, 0].size, absolute=False, rngs=nnx.Rngs(0))
    values = prefixed("channel_attention", gate_values(case, f"{prefix}channel_attention."))
    values["conv1.kernel"] = np.moveaxis(kernel[0], 0, -1).reshape(-1, 1)
    return FSAM(channels, hidden, range(channels), **options), values, kernel.shape[-1]


def block_values(case, prefix):
    values = {}
    for name in ("norm1", "norm2"):
        values |= torch_norm(name, case, prefix + name)
    for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
        values |= torch_linear(name, case, prefix + name)
    return values


def multispectral_channel_attention(case):
    x, filters = case["x"], case["dct_filters"]
    channels = x.shape[1]
    yield "filters", atoms(case["freq_x"], case["freq_y"], *filters.shape), filters
    gate = SpectralGate(
        channels, len(case["param/fc.0.weight"]), range(channels), absolute=False, average=False, rngs=nnx.Rngs(0)
    )
    assign(gate, gate_values(case, "param/"))
    site = plane(x, pooled_from(filters, *x.shape[2:]))
    z = gate.coefficients(nodes(x), site)
    yield "spectrum", z, case["spectrum"]
    out, _ = gate(nodes(x), site)
    yield "out", image(out, x), case["out"]


def fsam(case):
    x = case["x"]
    module, values, window = fsam_of(case, "param/", x.shape[1])
    assign(module, values)

    def run(size):
        return {"y": image(module(nodes(x), plane(x, modes_of(x, size), window))[0], x)}

    yield "out", matching(run, planes(x), case["out"])["y"], case["out"]


def itm_block_window1(case):
    x, t = case["x"], case["tokens"]
    block = ITMBlock(x.shape[1], int(case["num_heads"]), rngs=nnx.Rngs(0))
    assign(block, block_values(case, "param/"))

    def site(batch, n):
        return plane(np.zeros((batch, 1, n, 1)), np.zeros((1, n, 1)))

    out, _ = block(tokens(x), site(len(x), x[0, 0].size))
    yield "out", jnp.asarray(out).reshape(x.shape), case["out"]
    mixed = block.mix(jnp.asarray(t.reshape(-1, t.shape[-1])), site(*t.shape[:2]))
    yield "mlp_out", np.asarray(mixed).reshape(t.shape), case["mlp_out"]


def window_attention(case):
    """A window is a complete graph; the bias of an edge is that of the offset between its ends."""
    x = case["x"]
    batch, n, width = x.shape
    attention = WindowAttention(width, int(case["num_heads"]), rngs=nnx.Rngs(0))
    values = torch_linear("qkv", case, "param/qkv") | torch_linear("proj", case, "param/proj")
    assign(attention, values)
    b, i, j = (a.reshape(-1) for a in np.meshgrid(np.arange(batch), np.arange(n), np.arange(n), indexing="ij"))
    graph = Graph.create(b * n + j, b * n + i, np.full(batch, n))
    query, key = np.asarray(graph.receivers) % n, np.asarray(graph.senders) % n
    bias = case["param/relative_position_bias_table"][case["param/relative_position_index"][query, key]]
    out, _ = attention(jnp.asarray(x.reshape(-1, width)), graph, bias=jnp.asarray(bias))
    yield "out", jnp.asarray(out).reshape(x.shape), case["out"]


def fsat_stack2(case):
    x = case["x"]
    depth = len({name.split(".")[1] for name in case if name.startswith("param/blocks.")})
    module, values, window = fsam_of(case, "param/FAM_Attention.", x.shape[1])
    stack = FSATStack(x.shape[1], depth, int(case["num_heads"]), module, rngs=nnx.Rngs(0))
    values = prefixed("FAM_Attention", values) | torch_norm("bn", case, "param/bn")
    values |= {"bn.mean": case["param/bn.running_mean"], "bn.var": case["param/bn.running_var"]}
    for k in range(depth):
        values |= prefixed(f"blocks.{k}", block_values(case, f"param/blocks.{k}."))
    assign(stack, values)

    def run(size):
        site, y = plane(x, modes_of(x, size), window), x
        for block in stack.blocks:  # between a block and what follows the reference reads its memory in another way
            t, _ = block(tokens(y), site)
            y, _ = stack.join(nodes(jnp.asarray(t).reshape(x.shape)), site)
            y = image(y, x)
        return {"y": y}

    yield "out", matching(run, planes(x), case["out"])["y"], case["out"]


def graph_spectral_gate_independent(case):
    x = jnp.asarray(case["x"])
    gate = SpectralGate(x.shape[1], case["W1"].shape[1], case["channel_to_frequency"].tolist(), rngs=nnx.Rngs(0))
    assign(gate, {"fc1.kernel": case["W1"], "fc2.kernel": case["W2"]})
    graph = Graph.create(np.zeros(0, int), np.zeros(0, int), len(x))
    site = Site(graph, jnp.ones(len(x), bool), jnp.asarray(case["eigenvectors"]), lambda d: d, None)
    z = gate.coefficients(x, site)
    yield "coefficient", z[0], case["coefficient"]
    yield "gate", gate.gates(z)[0], case["gate"]
    yield "out", gate(x, site)[0], case["out"]
