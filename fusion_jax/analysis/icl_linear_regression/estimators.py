"""What one layer of softmax heads is compared with on regression in context, in closed form; NumPy, float64.

Reference: XintianPan/ICL_linear, commit 87ed34f (`utils/funcs.py`). Golden `icl-linear-regression/estimators`.

A head of weight mu whose scores are omega x . x_q adds mu y . softmax(omega X x_q). Examples are x [..., L, d] and
y [..., L], a query is [..., d]; all return [...].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from fusion_jax.data.icl_linear_regression import ridge

__all__ = [
    "Flow",
    "approximate_loss",
    "best_mu",
    "debiased_step",
    "gradient_flow",
    "gradient_step",
    "multi_head",
    "ridge",
    "ridge_limit",
    "single_head",
]


def multi_head(x, y, query, omega, mu) -> np.ndarray:
    """sum_h mu_h y . softmax(omega_h X query); omega and mu [H]."""
    scores = np.einsum("...ld,...d->...l", x, query)[..., None] * np.asarray(omega)
    return np.einsum("...l,...lh,h->...", y, special.softmax(scores, axis=-2), np.asarray(mu, float))


def gradient_step(x, y, query) -> np.ndarray:
    """y . X query / L: what a step of gradient descent from 0 predicts, of a step size of 1."""
    return np.einsum("...l,...ld,...d->...", y, x, query) / x.shape[-2]


def debiased_step(x, y, query) -> np.ndarray:
    """`gradient_step` less (sum y) (mean x . query) / L: the same of examples less their mean."""
    bias = y.sum(-1) * np.einsum("...d,...d->...", x.mean(-2), query) / x.shape[-2]
    return gradient_step(x, y, query) - bias


def single_head(d: int, context: int, noise: float) -> tuple[float, float]:
    """omega and mu of the best single head."""
    return 1 / np.sqrt(d), np.sqrt(d) / (1 + (1 + noise) * np.e * d / context)


def _matrix(omega, d: int, context: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """The matrix of the quadratic form in mu, and its part that is exponential in omega."""
    outer = np.outer(omega, omega)
    grown = (1 + noise) / context * np.exp(d * outer)
    return outer + grown, grown


def approximate_loss(omega, mu, *, d: int, context: int, noise: float) -> float:
    """1 + s^2 - 2 mu . omega + mu' [omega omega' + (1 + s^2) / L exp(d omega omega')] mu, s^2 = `noise`.

    Infinite where the exponential is.
    """
    omega, mu = np.asarray(omega, float), np.asarray(mu, float)
    return float(1 + noise - 2 * mu @ omega + mu @ _matrix(omega, d, context, noise)[0] @ mu)


def best_mu(omega, *, d: int, context: int, noise: float) -> np.ndarray:
    """[H], where `approximate_loss` is least for heads of these omega; equal omega leave it open, and are refused."""
    omega = np.asarray(omega, float)
    if len(np.unique(omega)) < len(omega):
        raise ValueError(f"best_mu: heads of equal omega {omega.tolist()} share one mu; expected others")
    return np.linalg.solve(_matrix(omega, d, context, noise)[0], omega)


class Flow(NamedTuple):
    """Descent on half of `approximate_loss`, before every step and after the last."""

    mu: np.ndarray  # [T + 1, H]
    omega: np.ndarray  # [T + 1, H]
    loss: np.ndarray  # [T + 1], that half


def gradient_flow(omega, mu, *, rate: float, steps: int, d: int, context: int, noise: float) -> Flow:
    """Follows omega and mu [H] for so many steps.

    The gradients are those of half the loss, as in the authors' code.
    """
    omega, mu = np.asarray(omega, float), np.asarray(mu, float)
    held = [(mu, omega)]
    for _ in range(steps):
        matrix, grown = _matrix(omega, d, context, noise)
        of_mu = matrix @ mu - omega
        of_omega = (mu @ omega) * mu - mu + d * (grown * np.outer(mu, mu)) @ omega
        mu, omega = mu - rate * of_mu, omega - rate * of_omega
        held.append((mu, omega))
    losses = [approximate_loss(w, m, d=d, context=context, noise=noise) / 2 for m, w in held]
    return Flow(*(np.stack(part) for part in zip(*held, strict=True)), np.array(losses))


def ridge_limit(noise: float, ratio: float) -> float:
    """What ridge regression loses where d and L grow with d / L = `ratio`."""
    rest = (ratio - 1) / ratio
    return 0.5 * (noise + rest + np.sqrt(4 * noise + (noise - rest) ** 2))
