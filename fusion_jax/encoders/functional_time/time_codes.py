"""Vectors of a continuous time whose inner products approximate a translation-invariant kernel.

Reference: Xu et al., "Self-attention with Functional Time Representation Learning", NeurIPS 2019; code
StatsDLMathsRecomSys/Self-attention-with-Functional-Time-Representation-Learning at b5cd85c
(`self_attention/modules.py`). Golden `functional-time`.

Times are in the data set's unit. `scales` are the shortest and the longest time scale s at the start, in that unit:
waves sin(t / s) of period 2 pi s, in `FlexibleMercer` of period (2 pi)^2 s. Sines come first, then cosines, everywhere.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.nn.init import ones, zeros
from fusion_jax.records import Array

GLOROT = nnx.initializers.glorot_uniform()


class Bochner(nnx.Module):
    """[sin(t 10^-a), cos(t 10^-b)] * beta with a, b [k / 2] and beta [k]: t [...] -> [..., k].

    Sines and cosines have frequencies of their own in the code, unlike eq. 5: as a and b move apart, inner products
    depend on more than the difference of two times. `tied` has b = a. The factor sqrt(2 / k) of eq. 5 is left to beta.
    """

    def __init__(self, dim: int, *, scales: tuple[float, float] = (1.0, 1e8), tied: bool = False, rngs: nnx.Rngs):
        del rngs
        if dim % 2:
            raise ValueError(f"encoder 'functional_time': time_dim={dim}, code 'bochner' needs an even width")
        self.sin_scale = nnx.Param(jnp.asarray(_log_scales(dim // 2, scales), jnp.float32))
        self.cos_scale = None if tied else nnx.Param(jnp.asarray(_log_scales(dim // 2, scales), jnp.float32))
        self.beta = ones((dim,))

    def __call__(self, t: Array) -> Array:
        a = self.sin_scale[...]
        b = a if self.cos_scale is None else self.cos_scale[...]
        t = t[..., None]
        return jnp.concatenate([jnp.sin(t * 10.0**-a), jnp.cos(t * 10.0**-b)], axis=-1) * self.beta[...]


class Mercer(nnx.Module):
    """sum_j C_ij sin(t f_ij) + C_(i, m + j) cos(t f_ij) + c_i with f_ij = j 10^-p_i, j = 1 ... m: t [...] -> [..., k].

    A Fourier series of degree m for each of k base scales 10^p_i, learned as p [k].
    """

    def __init__(self, dim: int, degree: int, *, scales: tuple[float, float] = (1.0, 1e8), rngs: nnx.Rngs):
        self.scale = nnx.Param(jnp.asarray(_log_scales(dim, scales), jnp.float32))
        self.coefficients = nnx.Param(GLOROT(rngs.params(), (dim, 2 * degree), jnp.float32))
        self.bias = zeros((dim,))
        self.degree = degree

    def __call__(self, t: Array) -> Array:
        order = jnp.arange(1, self.degree + 1, dtype=t.dtype)
        # the frequency, not the period, is multiplied
        return _series(t[..., None, None] * (order * 10.0 ** -self.scale[...][:, None]), self)


class FlexibleMercer(nnx.Module):
    """As `Mercer`, with k m scales P_ij of their own: sin(t / P_ij), cos(t / P_ij).

    P_ij starts at 2 pi s_i / j, as in the code, and is learned as it is, not as a logarithm: a step of the optimiser
    moves a short scale and leaves a long one where it is.
    """

    def __init__(self, dim: int, degree: int, *, scales: tuple[float, float] = (1.0, 1e8), rngs: nnx.Rngs):
        start = 2 * math.pi * 10.0 ** _log_scales(dim, scales)[:, None] / np.arange(1, degree + 1)
        self.scale = nnx.Param(jnp.asarray(start, jnp.float32))
        self.coefficients = nnx.Param(GLOROT(rngs.params(), (dim, 2 * degree), jnp.float32))
        self.bias = zeros((dim,))

    def __call__(self, t: Array) -> Array:
        return _series(t[..., None, None] / self.scale[...], self)


def _series(phase: Array, code: Mercer | FlexibleMercer) -> Array:
    """phase [..., k, m] -> [..., k]."""
    waves = jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=-1)
    return (waves * code.coefficients[...]).sum(-1) + code.bias[...]


def _log_scales(n: int, scales: tuple[float, float]) -> np.ndarray:
    """log10 of n time scales, evenly spaced there, in float64.

    Raises:
        ValueError: scales that are not positive, or fall.
    """
    shortest, longest = scales
    if not 0 < shortest <= longest:
        raise ValueError(f"encoder 'functional_time': scales={scales}, expected 0 < shortest <= longest")
    return np.linspace(math.log10(shortest), math.log10(longest), n)
