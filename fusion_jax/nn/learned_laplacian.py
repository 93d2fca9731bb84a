"""A convolution that starts as a Laplacian, is pulled back to it, and can be held there (ALC of HFF-Net)."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fusion_jax.records import Array

PULL = 5e-6  # the paper's weight of the pull towards the Laplacian


class LearnedLaplacian(nnx.Module):
    """y = h + sum_k (T_k h) W_k, W_k [D, D] = c_k in every entry at the start.

    On a graph there is one T = -L with c = 1, so that y = h - (L h) W, W all ones; on a grid the T_k are the shifts of
    a stencil, and c is the Laplacian's. Entries that are `held` are c whatever the optimiser does to W, and have no
    gradient.

    Args:
        dim: D.
        stencil: the c_k.
    """

    def __init__(self, dim: int, stencil: tuple[float, ...] = (1.0,)):
        self.stencil = tuple(float(c) for c in stencil)
        self.kernel = nnx.Param(self.start(jnp.ones((len(self.stencil), dim, dim), jnp.float32)))
        self.held = nnx.BatchStat(jnp.zeros((len(self.stencil), dim, dim), bool))

    def start(self, like: Array) -> Array:
        """c in the shape and dtype of W."""
        return jnp.broadcast_to(jnp.asarray(self.stencil, like.dtype)[:, None, None], like.shape)

    @property
    def weight(self) -> Array:
        """W [K, D, D], as it acts."""
        kernel = self.kernel[...]
        return jnp.where(self.held[...], self.start(kernel), kernel)

    def __call__(self, h: Array, moved: Array) -> Array:
        """h [..., D] and the T_k h, [..., K, D] -> [..., D]"""
        return h + jnp.einsum("...kd,kde->...e", moved, self.weight.astype(h.dtype))

    def distance(self) -> Array:
        """sum (W - c)^2"""
        weight = self.weight
        return ((weight - self.start(weight)) ** 2).sum()

    def hold(self, fisher: Array) -> None:
        """Puts back and holds the entries whose Fisher information [K, D, D] is above mean + 1 standard deviation.

        Mean and deviation are over the K entries of a pair of features, as over the positions of a kernel in the paper;
        over all of W where K = 1, as on a graph.
        """
        axis = 0 if len(self.stencil) > 1 else None
        ddof = 1  # as PyTorch's std
        above = fisher > fisher.mean(axis, keepdims=True) + fisher.std(axis, ddof=ddof, keepdims=True)
        self.held.set_value(self.held[...] | above)
        self.kernel.set_value(self.weight)
