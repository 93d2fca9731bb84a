"""UFC: a layer on grids of pixels, the linear attention and the correlation.

A grid takes the place of `Plane`: f^2 pixels are the nodes, c^2 cells the parts; bilinear resizing and the places that
a kernel reads are matrices.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.ufc.layer import UFCLayer, normalised, positive, read, transpose
from fusion_jax.fusion.ufc.plane import correlation
from tests.helpers import assign
from tests.torch_names import torch_linear, torch_norm


def bilinear(out: int, size: int) -> np.ndarray:
    """[out, size], linear interpolation with aligned corners along one axis."""
    at = np.arange(out) * (size - 1) / max(out - 1, 1)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(size)), 0)


def resize(out: int, size: int) -> np.ndarray:
    return np.kron(bilinear(out, size), bilinear(out, size))  # [out^2, size^2]


def shifts(size: int, kernel: int, stride: int = 1) -> np.ndarray:
    """[kernel^2, out^2, size^2], the pixel each weight of a kernel reads, zeros around the image."""
    out = (size + 2 * (kernel // 2) - kernel) // stride + 1
    one = np.zeros((kernel, out, size))
    for i, matrix in enumerate(one):
        for p in range(out):
            s = p * stride + i - kernel // 2
            if 0 <= s < size:
                matrix[p, s] = 1
    return np.stack([np.kron(y, x) for y in one for x in one])


@dataclasses.dataclass(frozen=True)
class Grid:
    """`batch` images of f x f pixels and a cost of c x c cells."""

    batch: int
    f: int
    c: int
    kernel: int
    depthwise: int

    def _each(self, matrices):
        return jnp.broadcast_to(jnp.asarray(matrices), (self.batch, *matrices.shape))

    @property
    def there(self):
        return jnp.ones((self.batch, self.c**2), bool)

    def taps(self, dtype):
        del dtype  # the golden numbers are float64
        return self._each(shifts(self.c, self.kernel))

    def gather(self, x):
        return x.reshape(self.batch, self.f**2, *x.shape[1:])

    def scatter(self, y):
        return y.reshape(-1, *y.shape[2:])

    def neighbours(self, x):
        y = jnp.einsum("kps,bsd->kbpd", shifts(self.f, self.depthwise), self.gather(x))
        return y.reshape(len(y), *x.shape)

    def up(self, y):
        return self.scatter(jnp.einsum("np,bp...->bn...", resize(self.f, self.c), y))

    def summed(self, x):
        return jnp.einsum("np,bn...->bp...", resize(self.f, self.c), self.gather(x))

    def down(self, x):
        return jnp.einsum("pn,bn...->bp...", resize(self.c, self.f), self.gather(x))

    @property
    def cells(self):  # [c^2, f^2], 1 where a pixel is in a cell
        one = np.kron(np.eye(self.c), np.ones(self.f // self.c))
        return np.kron(one, one)

    def pool(self, x):
        return jnp.einsum("pn,bn...->bp...", self.cells, self.gather(x)) / (self.f // self.c) ** 2

    def repeat(self, y):
        return self.scatter(jnp.einsum("pn,bp...->bn...", self.cells, y))

    def position(self, p):
        return self.scatter(self._each(p))

    def similarity(self, target, conv, a, b):
        """Of all pixels; a stride narrows one plane, after the largest entries of cells have narrowed the other."""
        cost = correlation(self.gather(a), target.gather(b))[..., None]
        taps = self._each(shifts(self.f, self.kernel, self.f // self.c))
        over_source = conv.query_conv(transpose(self.largest(transpose(cost))), taps)
        return over_source + transpose(conv.supp_conv(transpose(self.largest(cost)), taps))

    def largest(self, cost):  # [B, f^2, T, 1] -> [B, c^2, T, 1]
        s = self.f // self.c
        y = cost.reshape(self.batch, self.c, s, self.c, s, *cost.shape[2:]).max((2, 4))
        return y.reshape(self.batch, self.c**2, *cost.shape[2:])


def convolution(prefix, case, name):
    weight = case[f"{name}.weight"]
    kernel = weight.reshape(*weight.shape[:2], -1).transpose(2, 1, 0)
    return {f"{prefix}.kernel": kernel, f"{prefix}.bias": case[f"{name}.bias"]}


def encoder(prefix, case, name):
    parts = {}
    for part in ("query_conv", "supp_conv"):
        parts |= convolution(f"{prefix}.conv.{part}", case, f"{name}.0.{part}")
    return parts | torch_norm(prefix, case, f"{name}.1")


def parameters(case, refine):
    values = {"pos_embed": case["param/pos_embed"][0, :, 0]}
    for name in ("q_proj", "k_proj", "v_proj", "v_cross"):
        values |= torch_linear(name, case, f"param/{name}")
    for name in ("norm1", "norm2", "norm_cross1", "norm_cross2"):
        values |= torch_norm(name, case, f"param/{name}")
    for name in ("mlp", "mlp_cross"):
        values |= torch_linear(f"{name}.fc1", case, f"param/{name}.0") | torch_linear(
            f"{name}.fc2", case, f"param/{name}.3"
        )
        depthwise = case[f"param/{name}.1.dwconv.weight"]
        values[f"{name}.kernel"] = depthwise.reshape(len(depthwise), -1).T
        values[f"{name}.bias"] = case[f"param/{name}.1.dwconv.bias"]
    more = ("2",) if refine else ()
    for name in ("v_proj_corr", "feat_to_corr1", *(f"feat_to_corr{n}" for n in more)):
        values |= encoder(name, case, f"param/{name}.conv4d.0")
    for name in ("mlp_corr", "mlp_refine_corr", *(f"mlp_refine_corr{n}" for n in more)):
        for i, stage in enumerate(("first", "second")):
            values |= encoder(f"{name}.{stage}", case, f"param/{name}.conv4d.{i}")
    return values


def build(case, refine):
    heads, cells = int(case["cfg_nhead"]), int(case["cfg_corr_size"]) ** 2
    dim, places = case["src_feat"].shape[-1], case["param/pos_embed"].shape[1]
    hidden = case["param/mlp_corr.conv4d.0.1.weight"].shape[0]
    kernel = case["param/mlp_corr.conv4d.0.0.query_conv.weight"].shape[-1]
    layer = UFCLayer(
        dim,
        heads,
        cells,
        places,
        kernel**2,
        expand=float(case["cfg_expand_ratio"]),
        cost_expand=hidden // heads,
        refine=refine,
        rngs=nnx.Rngs(0),
    )
    return assign(layer, parameters(case, refine))


def layer(case):
    batch, _, c = case["corr"].shape[:3]
    f = int(case["cfg_feat_size"])
    kernel = case["param/mlp_corr.conv4d.0.0.query_conv.weight"].shape[-1]
    grid = Grid(batch, f, c, kernel, case["param/mlp.1.dwconv.weight"].shape[-1])
    cost = jnp.moveaxis(jnp.asarray(case["corr"]).reshape(batch, -1, c**2, c**2), 1, -1)
    a, b = (jnp.asarray(case[f"{name}_feat"]).reshape(batch * f**2, -1) for name in ("src", "trg"))

    def images(cost):
        return jnp.moveaxis(cost, -1, 1).reshape(case["corr"].shape)

    def features(x):
        return x.reshape(case["src_feat"].shape)

    whole = build(case, refine=True)
    new, x = whole.self_attention(cost, a, grid, grid)
    yield "self_attn_corr", images(new), case["self_attn_corr"]
    yield "self_attn_feat", features(x), case["self_attn_feat"]
    crossed_a, crossed_b, *_ = whole.cross_attention(cost, a, b, grid, grid)
    yield "cross_src", features(crossed_a), case["cross_src"]
    yield "cross_trg", features(crossed_b), case["cross_trg"]
    cost_out, out_a, out_b, _ = whole(cost, a, b, grid, grid)
    yield "corr_out", images(cost_out), case["corr_out"]
    yield "src_out", features(out_a), case["src_out"]
    yield "trg_out", features(out_b), case["trg_out"]
    last, *_ = build(case, refine=False)(cost, a, b, grid, grid)
    yield "corr_out_norefine", images(last), case["corr_out_norefine"]


def linear_attention_and_correlation(case):
    q, k = positive(jnp.asarray(case["q"])), positive(jnp.asarray(case["k"]))
    yield "y", read(normalised(q, k), k, jnp.asarray(case["v"])), case["y"]
    a, b = (case[f"feat_{name}"] for name in "ab")
    pixels = (jnp.moveaxis(jnp.asarray(x), 1, -1).reshape(len(x), -1, x.shape[1]) for x in (a, b))
    yield "correlation", correlation(*pixels).reshape(case["correlation"].shape), case["correlation"]
