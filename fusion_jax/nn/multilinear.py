"""The product of all modalities in blocks of low rank, which `block` and `mutan` have in common."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import normal, stack
from fusion_jax.records import Array


class Merge(nnx.Module):
    """z_b = sum_r prod_m (W_mbr u_mb + w_mbr) for B blocks of one size s; u_m [B s] is cut into the u_mb.

    Parameters: kernel [K, B, s, R, s], bias [K, B, R, s], with K = M, or 1 where all modalities share them.
    """

    def __init__(self, modalities: int, blocks: int, size: int, rank: int, *, shared: bool, rngs: nnx.Rngs):
        own = 1 if shared else modalities
        # R products of M factors sum up to variance 1 whatever R and M. Half of a factor's is its bias, where the code
        # has little: without it z starts as products of all modalities alone, and what a few of them say is not in it.
        std = (0.5 * rank ** (-1 / modalities)) ** 0.5
        self.kernel = normal(rngs, (own, blocks, size, rank, size), std=std * size**-0.5)
        self.bias = normal(rngs, (own, blocks, rank, size), std=std)

    def __call__(self, u: Array, mask: Array) -> Array:
        """u [M, B s], mask bool [M] -> z [B, s]; the factor of a missing modality is 1, z = 0 where all are missing."""
        kernel, bias = self.kernel[...], self.bias[...]
        own, blocks, size, *_ = kernel.shape
        u = u.reshape(u.shape[0], blocks, size)
        kernel = jnp.broadcast_to(kernel, (u.shape[0], *kernel.shape[1:])) if own == 1 else kernel
        factors = jnp.einsum("mbi,mbiro->mbro", u, kernel) + bias
        z = jnp.where(mask[:, None, None, None], factors, 1).prod(0).sum(1)
        return jnp.where(mask.any(), z, 0)


class Multilinear(nnx.Module):
    """y = W_o z + b_o, z = [z_1; ...; z_C], z_c = sum_r prod_m (W_mcr u_mc + w_mcr), u_m = V_m x_m + v_m in C blocks.

    Args:
        dim, width, out: of x_m, of u_m and z, and of y.
        chunks: C, of sizes as even as they come (`sizes`).
        rank: R, products summed in a block.
        shared: whether all modalities have the same V, v, W and w.
        norm: where z goes through `power_normalised`: "before_cat" (block by block), "after_cat" (all of z) or None.
        input_rate, pre_lin_rate, output_rate: dropout on the u_m, on z and on y.
    """

    def __init__(
        self,
        modalities: int,
        dim: int,
        width: int,
        out: int,
        *,
        chunks: int,
        rank: int,
        shared: bool,
        norm: str | None,
        input_rate: float,
        pre_lin_rate: float,
        output_rate: float,
        rngs: nnx.Rngs,
    ):
        self.linears = stack(lambda r: nnx.Linear(dim, width, rngs=r), 1 if shared else modalities, rngs)
        cut = sizes(width, chunks)
        self.merges = nnx.List(
            [Merge(modalities, cut.count(s), s, rank, shared=shared, rngs=rngs) for s in dict.fromkeys(cut)]
        )
        self.linear_out = nnx.Linear(width, out, rngs=rngs)
        self.norm, self.rates = norm, (input_rate, pre_lin_rate, output_rate)

    def product(self, x: Array, mask: Array, *, key: Array | None = None) -> Array:
        """z [width] of one node, x [M, D] under mask [M]."""
        kernel, bias = self.linears.kernel[...], self.linears.bias[...]
        kernel = jnp.broadcast_to(kernel, (x.shape[0], *kernel.shape[1:]))
        u = jnp.einsum("mi,mio->mo", jnp.where(mask[:, None], x, 0), kernel) + bias
        u, blocks, start = dropout(u, self.rates[0], key), [], 0
        for merge in self.merges:
            width = merge.kernel.shape[1] * merge.kernel.shape[2]
            z = merge(u[:, start : start + width], mask)
            blocks.append(power_normalised(z) if self.norm == "before_cat" else z)
            start += width
        z = jnp.concatenate([z.reshape(-1) for z in blocks])
        return power_normalised(z) if self.norm == "after_cat" else z

    def __call__(self, x: Array, mask: Array, *, key: Array | None = None) -> Array:
        """x [M, D], mask bool [M] -> y [out]."""
        first, second, third = split_key(key, 3)
        z = dropout(self.product(x, mask, key=first), self.rates[1], second)
        return dropout(self.linear_out(z), self.rates[2], third)


def sizes(width: int, chunks: int) -> list[int]:
    """The widths of the blocks, as the reference cuts: large ones first, of two sizes at most."""
    large = -(-width // chunks)
    left = width - large * (chunks - 1)
    if left > 0:  # the last one takes what is left
        return [large] * (chunks - 1) + [left]
    # else blocks at the end are smaller by one
    short = large * chunks - width
    return [large] * (chunks - short) + [large - 1] * short


def power_normalised(z: Array) -> Array:
    """sign(z) sqrt|z| divided by its length over the last axis; at 0 value and gradient are 0."""
    size = jnp.abs(z)
    there = size > jnp.finfo(z.dtype).tiny
    root = jnp.where(there, jnp.sign(z) * jnp.sqrt(jnp.where(there, size, 1)), 0)
    square = (root**2).sum(-1, keepdims=True)
    length = jnp.sqrt(jnp.where(square > 0, square, 1))
    return root / jnp.maximum(length, 1e-12)


def check(name: str, width: int, chunks: int, rank: int) -> None:
    """Raises ValueError unless there are blocks and ranks to be had."""
    if not 1 <= chunks <= width:
        raise ValueError(f"fusion {name!r}: chunks={chunks} of mm_dim={width}; expected 1 <= chunks <= mm_dim")
    if rank < 1:
        raise ValueError(f"fusion {name!r}: rank={rank}; expected at least 1")
