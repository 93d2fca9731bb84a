"""Looking at results while seeds are added: bounds that keep the error over all looks (group-sequential tests).

A test at look k with n_k of at most n_max seeds may reject where its p is at most a nominal level. The levels spend the
error alpha (n / n_max)^2 (Lan and DeMets, 1983; the power family of Kim and DeMets, 1987): the probability to have
rejected a true hypothesis by look k is what is spent by then. They follow from the joint distribution of the looks,
Brownian motion at (n_k / n_max)^1.5: looks of a t test, whose deviation is estimated anew, are a little less alike than
n_k / n_max would have them (simulated: the error is then at most what is spent, for .05 as for .001). Splits that
overlap and rows that are fixed make looks more alike, and the levels only safer.

The smallest alpha at which a hypothesis is rejected by some look so far is its sequential p. It is a p wherever the
study stops, so Holm's correction of sequential p keeps the family-wise error (Maurer and Bretz, 2013).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

NODES, WEIGHTS = np.polynomial.legendre.leggauss(80)
ALPHAS = np.concatenate([np.logspace(-12, -2, 31), np.linspace(0.015, 0.1, 18), np.linspace(0.15, 0.95, 17)])


def plan(first: int, limit: int, step: int) -> tuple[int, ...]:
    """The numbers of seeds at which a study is looked at: `first`, then every `step` more, and `limit`.

    Raises:
        ValueError: numbers that make no looks; names which.
    """
    if first < 2:
        raise ValueError(f"looks: the first is at {first} seeds; expected two or more")
    if limit < first:
        raise ValueError(f"looks: at most {limit} seeds, and the first look is at {first}; expected as many at least")
    if step < 1:
        raise ValueError(f"looks: step {step}; expected one seed or more")
    return (*range(first, limit, step), limit)


def spent(fraction: float, alpha: float) -> float:
    """How much of the error alpha is spent by that fraction of the seeds."""
    return alpha * min(1.0, fraction) ** 2


def levels(looks: Sequence[int], limit: int, alpha: float = 0.05) -> np.ndarray:
    """The nominal two-sided level of each of the looks (numbers of seeds, rising) of a study of at most `limit`.

    The density of the path that no look has rejected is carried from look to look (Armitage, McPherson and Rowe, 1969).
    """
    gone, now, at, weight = 0.0, 0.0, np.zeros(1), np.ones(1)  # spent, time, places, probability of each
    found = []
    for n in looks:
        share, time = spent(n / limit, alpha) - gone, (n / limit) ** 1.5
        step = np.sqrt(time - now)
        bound = _bound(share, at, weight, step)
        found.append(2 * special.ndtr(-bound / np.sqrt(time)))
        places = bound * NODES
        weight = (
            np.exp(-(((places[:, None] - at) / step) ** 2) / 2) @ weight * WEIGHTS * bound / step / np.sqrt(2 * np.pi)
        )
        gone, now, at = gone + share, time, places
    return np.array(found)


def _bound(share: float, at: np.ndarray, weight: np.ndarray, step: float) -> float:
    """b with P(|S| >= b) = share, S a normal step away from a place `at`, each with its probability."""

    def beyond(b: float) -> float:
        return float((special.ndtr((at - b) / step) + special.ndtr((-at - b) / step)) @ weight) - share

    return optimize.brentq(beyond, 0.0, np.abs(at).max() + 40 * step, xtol=1e-9)


@functools.lru_cache(maxsize=64)
def _table(looks: tuple[int, ...], limit: int) -> np.ndarray:
    """[alphas, looks] of nominal levels."""
    return np.array([levels(looks, limit, alpha) for alpha in ALPHAS])


def sequential_p(p: Sequence[float], looks: Sequence[int], limit: int) -> float:
    """The smallest alpha at which one of the looks so far rejects, of the p [k] at these looks; 1 beyond .95.

    NaN where no look knows a p; those that do not are left out.
    """
    known = [(value, k) for k, value in enumerate(p) if not np.isnan(value)]
    if not known:
        return np.nan
    table = _table(tuple(looks), limit)
    return min(_alpha(value, table[:, k]) for value, k in known)


def _alpha(p: float, nominal: np.ndarray) -> float:
    """The alpha whose nominal level is p, between those of the table; the table's smallest for a smaller p."""
    if p > nominal[-1]:
        return 1.0
    floor = np.finfo(float).tiny
    return float(np.exp(np.interp(np.log(max(p, floor)), np.log(np.maximum(nominal, floor)), np.log(ALPHAS))))


def nominal(looks: Sequence[int], limit: int, alpha: float = 0.05) -> float:
    """The nominal level of the last of the looks so far: of the interval that holds at every look with 1 - alpha."""
    return float(levels(tuple(looks), limit, alpha)[-1])
