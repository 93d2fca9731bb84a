"""Power spectra of groups of features added to them, and the gated feed-forward around it (AFFN of Flickerformer)."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fusion_jax.nn.mlp import gelu
from fusion_jax.nn.stencil import Stencil, StencilScale
from fusion_jax.records import Array

GROUP = 8  # features that are one periodic signal, as the paper's patches are 8 wide


class Autocorrelation(nnx.Module):
    """p <- irfft(X + alpha S) + beta irfft(S), X = w rfft(p), S = |X|^2, w = 1 and alpha = beta = 1/2 at the start.

    S is the spectrum of p's autocorrelation. Only alpha + beta acts; both are there, as in the code.

    Args:
        groups: signals, each with its own w.
        shape: of a signal: (8,) here, (8, 8) for the patches of an image.
    """

    def __init__(self, groups: int, shape: tuple[int, ...] = (GROUP,)):
        self.shape = shape
        self.fft = nnx.Param(jnp.ones((groups, *shape[:-1], shape[-1] // 2 + 1), jnp.float32))
        self.alpha = nnx.Param(jnp.full((), 0.5, jnp.float32))
        self.beta = nnx.Param(jnp.full((), 0.5, jnp.float32))

    def __call__(self, p: Array) -> Array:
        """p [..., groups, *shape] -> the same"""
        axes = tuple(range(-len(self.shape), 0))
        x = jnp.fft.rfftn(p, axes=axes)
        x = x * self.fft[...].astype(x.dtype)
        power = (jnp.real(x) ** 2 + jnp.imag(x) ** 2).astype(x.dtype)

        def back(spectrum: Array) -> Array:
            return jnp.fft.irfftn(spectrum, self.shape, axes=axes)

        return back(x + self.alpha[...].astype(x.dtype) * power) + self.beta[...].astype(p.dtype) * back(power)


class GatedAutocorrelation(nnx.Module):
    """y = W_out (gelu(a) * b), [a; b] = depthwise(autocorrelation(W_in x)), without biases.

    Args:
        dim: D.
        hidden: of a and of b.
        groups, shape: of the signals that the 2 `hidden` features are cut into.
        views: of the depthwise map.
    """

    def __init__(self, dim: int, hidden: int, *, groups: int, shape=(GROUP,), views: int = 2, rngs: nnx.Rngs):
        self.project_in = nnx.Linear(dim, 2 * hidden, use_bias=False, rngs=rngs)
        self.autocorrelation = Autocorrelation(groups, shape)
        self.dwconv = StencilScale(2 * hidden, views=views, rngs=rngs)
        self.project_out = nnx.Linear(hidden, dim, use_bias=False, rngs=rngs)

    def gated(self, u: Array, stencil: Stencil) -> Array:
        """What follows the autocorrelation."""
        a, b = jnp.split(self.dwconv(u, stencil), 2, -1)
        return self.project_out(gelu(a) * b)

    def __call__(self, x: Array, stencil: Stencil) -> Array:
        """x [N, D] -> [N, D], consecutive features being a signal."""
        u = self.project_in(x)
        return self.gated(
            self.autocorrelation(u.reshape(len(x), -1, *self.autocorrelation.shape)).reshape(u.shape), stencil
        )
