"""Opinions with a stated uncertainty: evidence of a Dirichlet distribution, and Dempster's rule in log space.

Evidence e_k >= 0 over K classes is an opinion: S = sum_k e_k + K, belief b_k = e_k / S, uncertainty u = K / S,
sum_k b_k + u = 1, expected probability p_k = (e_k + 1) / S = b_k + u / K.

The reduced Dempster rule for opinions 1 and 2, b_k = (b_1k b_2k + b_1k u_2 + b_2k u_1) / (1 - C) and
u = u_1 u_2 / (1 - C), says that (b_k + u) / u is the product of (b_1k + u_1) / u_1 and (b_2k + u_2) / u_2. Its
logarithm, here called the gain g_k = log(1 + e_k / K), is therefore added up over opinions: the fold needs no
division by 1 - C, does not depend on an order, and a vacuous opinion (b = 0, u = 1) adds exactly 0.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from fusion_jax.records import Array

CAP = 1e4  # largest evidence for a class: digamma and lgamma of float32 stay exact enough below


def evidence(logits: Array, cap: float = CAP) -> Array:
    """softplus(logits), at most `cap`."""
    return jnp.minimum(jax.nn.softplus(logits), cap)


def opinion(e: Array) -> tuple[Array, Array]:
    """Evidence [..., K] -> belief [..., K] and uncertainty [...]."""
    total = e.sum(-1) + e.shape[-1]
    return e / total[..., None], e.shape[-1] / total


def gain(e: Array) -> Array:
    """g = log((b + u) / u) of evidence [..., K]."""
    return jnp.log1p(e / e.shape[-1])


def discounted_gain(belief: Array, uncertainty: Array, reliability: Array) -> Array:
    """Gain of the opinion (w b, 1 - w + w u), what is left of an opinion that is trusted with w in [0, 1]."""
    w = reliability[..., None]
    return jnp.log1p(w * belief / (1 - w + w * uncertainty[..., None]))


def from_gain(g: Array, cap: float = CAP) -> tuple[Array, Array, Array, Array]:
    """The opinion whose gain is g [..., K] >= 0.

    Returns:
        belief [..., K], uncertainty [...], evidence [..., K] (at most `cap`) and the logarithm of the expected
        probability [..., K]; only the evidence is capped, so any number of sure opinions can be added up.
    """
    classes = g.shape[-1]
    top = jax.lax.stop_gradient(g.max(-1, keepdims=True))
    # 1 / u = 1 + sum_k (exp(g_k) - 1), all terms positive and divided by exp(top)
    share = -jnp.expm1(-g) * jnp.exp(g - top)
    log_u = -(top + jnp.log(share.sum(-1, keepdims=True) + jnp.exp(-top)))
    belief = -jnp.expm1(-g) * jnp.exp(g + log_u)
    log_p = g + log_u + jnp.log1p(-(classes - 1) / classes * jnp.exp(-g))
    capped = classes * jnp.expm1(jnp.minimum(g, math.log1p(cap / classes)))
    return belief, jnp.exp(log_u[..., 0]), capped, log_p
