"""Token attention network: attention and convolutions over tokens that span several axes at once.

The network of ISTA-Net, apart from what its axes mean. Channels are last: z [N, A, P, U, C] holds for each of
U tokens A frames and P places (joint-entity pairs) of C channels; `present` bool [N, A, P, U] says which are
there.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import Constant, zeros
from fusion_jax.nn.norm import MaskedBatchNorm, layer_norm
from fusion_jax.records import Array

torch_conv = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def lrelu(x: Array) -> Array:
    return jax.nn.leaky_relu(x, 0.1)


def tokenize(x: Array, window: tuple[int, int, int]) -> Array:
    """[N, T, J, E, C] -> [N, w_T, w_J w_E, U, C], U = n_T n_J n_E windows.

    Axes are padded by repeating their last entry to a multiple of the window. The window index is the slow
    part of an axis, so a token is a strided subsample: token b holds the entries a n + b, a = 0 ... w - 1.
    """
    counts = [-(-size // w) for size, w in zip(x.shape[1:4], window, strict=True)]
    pads = [(0, n * w - size) for n, w, size in zip(counts, window, x.shape[1:4], strict=True)]
    x = jnp.pad(x, [(0, 0), *pads, (0, 0)], mode="edge")
    (wt, wj, we), (nt, nj, ne) = window, counts
    x = x.reshape(x.shape[0], wt, nt, wj, nj, we, ne, x.shape[-1])
    return x.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(x.shape[0], wt, wj * we, nt * nj * ne, x.shape[-1])


def sinusoid(tokens: int, channels: int) -> np.ndarray:
    """Code of the token index u, [U, C]: sin(u w_i), cos(u w_i) side by side, w_i = 10000^(-2i / C)."""
    angle = np.arange(tokens)[:, None] * 10000.0 ** (-np.arange(0, channels, 2) / channels)
    return np.stack([np.sin(angle), np.cos(angle)], -1).reshape(tokens, -1)[:, :channels].astype(np.float32)


class Conv(nnx.Module):
    """y = norm(sum_i shift_i(z) W_i + b) along one axis of z (1: frames, -2: tokens), zeros past its ends."""

    def __init__(self, c_in: int, c_out: int, norm: str, *, size: int = 1, axis: int = 1, rngs: nnx.Rngs):
        self.kernel = nnx.Param(torch_conv(rngs.params(), (size, c_in, c_out), jnp.float32))
        self.bias = zeros((c_out,))
        self.norm = (MaskedBatchNorm if norm == "batch" else layer_norm)(c_out, rngs=rngs)
        self.axis = axis

    def __call__(self, z: Array, present: Array, *, training: bool = False) -> Array:
        axis, length, kernel = self.axis % z.ndim, z.shape[self.axis], self.kernel[...]
        half = len(kernel) // 2
        z = jnp.pad(z, [(half, half) if a == axis else (0, 0) for a in range(z.ndim)])
        # products of shifts, not nnx.Conv: under vmap over seeds that is a grouped convolution, slow on a CPU
        shifts = (jax.lax.slice_in_dim(z, i, i + length, axis=axis) @ w for i, w in enumerate(kernel))
        y = sum(shifts, self.bias[...])
        if isinstance(self.norm, MaskedBatchNorm):
            return self.norm(y, present, training=training)
        return self.norm(y)


class TokenBlock(nnx.Module):
    """Attention S = alpha tanh(q . k / size) + M over tokens, then convolutions along tokens and frames.

    y_h[u'] = sum_u z[u] S_h[u, u'] (the values are z itself); f = lrelu(conv_U([y_1; ...; y_H]) + r);
    f = lrelu(conv_1(f) + r); out = lrelu(conv_T(f) + r'). r is z, r' is f, through a convolution of size 1
    where the width changes. `size` is r A P, or with missing places r times the number that both tokens have.
    """

    def __init__(self, c_in, c_out, width, heads, tokens, kernels, *, positions, norm, rate, rngs):
        self.heads, self.rate = heads, rate
        self.pe = Constant(jnp.asarray(sinusoid(tokens, c_in))) if positions else None
        self.to_qk = nnx.Linear(c_in, 2 * heads * width, kernel_init=torch_conv, rngs=rngs)
        self.alpha = nnx.Param(jnp.ones(heads, jnp.float32))
        self.static = nnx.Param(jnp.full((heads, tokens, tokens), 1 / tokens, jnp.float32))  # M
        in_time, in_tokens = kernels
        self.proj = Conv(heads * c_in, c_out, norm, size=in_tokens, axis=-2, rngs=rngs)
        self.ffn = Conv(c_out, c_out, norm, rngs=rngs)
        self.temporal = Conv(c_out, c_out, norm, size=in_time, axis=1, rngs=rngs)
        same = c_in == c_out
        self.residual = None if same else Conv(c_in, c_out, norm, rngs=rngs)
        self.residual_temporal = None if same else Conv(c_out, c_out, norm, rngs=rngs)

    def scores(self, z: Array, present: Array) -> Array:
        """S [N, H, U, U']; its rows do not sum to 1 and may be negative."""
        p = z if self.pe is None else z + self.pe[...].astype(z.dtype)
        qk = jnp.where(present[..., None], self.to_qk(p), 0)  # at a missing place the bias must not count
        q, k = jnp.split(qk.reshape(*qk.shape[:-1], 2, self.heads, -1), 2, axis=-3)
        q, k = q[..., 0, :, :], k[..., 0, :, :]  # [N, A, P, U, H, r]
        there = present.astype(z.dtype)
        size = q.shape[-1] * jnp.einsum("napu,napv->nuv", there, there)[:, None]
        dots = jnp.einsum("napuhr,napvhr->nhuv", q, k) / jnp.where(size > 0, size, 1)
        return self.alpha[...][:, None, None] * jnp.tanh(dots) + self.static[...]

    def __call__(self, z: Array, present: Array, *, key: Array | None = None) -> tuple[Array, Array]:
        """z [N, A, P, U, c_in] -> [N, A, P, U, c_out] and S."""
        keep = present[..., None]
        norm = dict(training=key is not None)
        s = self.scores(z, present)
        y = jnp.einsum("napuc,nhuv->napvhc", z, dropout(s, self.rate, key))
        y = jnp.where(keep, y.reshape(*y.shape[:-2], -1), 0)
        r = z if self.residual is None else self.residual(z, present, **norm)
        f = lrelu(self.proj(y, present, **norm) + r)
        f = lrelu(self.ffn(f, present, **norm) + r)  # the same r again, not f
        f = jnp.where(keep, f, 0)  # the convolution along frames must not see a missing frame's bias
        again = f if self.residual_temporal is None else self.residual_temporal(f, present, **norm)
        return jnp.where(keep, lrelu(self.temporal(f, present, **norm) + again), 0), s


class TokenNetwork(nnx.Module):
    """lrelu(embed(z)), the blocks, the mean over what is present, dropout, linear."""

    def __init__(self, channels, embed, blocks, out, tokens, *, heads, kernels, positions, norm, rate, head_rate, rngs):
        self.embed = Conv(channels, embed, norm, rngs=rngs)
        widths = [embed] + [c for c, _ in blocks]
        options = dict(positions=positions, norm=norm, rate=rate, rngs=rngs)
        self.blocks = nnx.List(
            [
                TokenBlock(c_in, c, r, heads, tokens, kernels, **options)
                for c_in, (c, r) in zip(widths[:-1], blocks, strict=True)
            ]
        )
        self.fc = nnx.Linear(widths[-1], out, kernel_init=nnx.initializers.glorot_normal(), rngs=rngs)
        self.head_rate = head_rate

    def embedded(self, z: Array, present: Array, *, training: bool = False) -> Array:
        return jnp.where(present[..., None], lrelu(self.embed(z, present, training=training)), 0)

    def __call__(self, z: Array, present: Array, *, key: Array | None = None) -> tuple[Array, Array]:
        """Tokens [N, A, P, U, C] -> [N, out] and the maps S of all blocks [N, L, H, U, U]."""
        *keys, last = split_key(key, len(self.blocks) + 1)
        z = self.embedded(z, present, training=key is not None)
        maps = []
        for block, k in zip(self.blocks, keys, strict=True):
            z, s = block(z, present, key=k)
            maps.append(s)
        count = present.sum((1, 2, 3)).astype(z.dtype)
        mean = z.sum((1, 2, 3)) / jnp.maximum(count, 1)[:, None]
        return self.fc(dropout(mean, self.head_rate, last)), jnp.stack(maps, axis=1)
