"""Where the curve of a deeper network passes that of a shallower one, both over the logarithm of their size."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

Curve = tuple[np.ndarray, np.ndarray]  # log N, increasing, and scores there, larger is better


class Crossing(NamedTuple):
    """Where the deeper curve rises above the shallower one for good, within the sizes that both have.

    Attributes:
        log_n: log N there; -inf where it is above from the smallest such size on, inf where it is not at the largest.
        changes: how often the curves change places.
    """

    log_n: float
    changes: int


def crossing(shallow: Curve, deep: Curve) -> Crossing | None:
    """None where the curves have no two sizes in common to be read at.

    Between its points a curve is linear in log N; nothing is read outside of them.
    """
    low, high = max(shallow[0][0], deep[0][0]), min(shallow[0][-1], deep[0][-1])
    if not low < high:
        return None
    at = np.union1d(shallow[0], deep[0])
    at = np.union1d(at[(at >= low) & (at <= high)], [low, high])
    gain = np.interp(at, *deep) - np.interp(at, *shallow)
    above = gain > 0
    turns = np.flatnonzero(above[1:] != above[:-1])
    if not above[-1]:
        return Crossing(np.inf, len(turns))
    if not len(turns):
        return Crossing(-np.inf, 0)
    i = turns[-1]
    return Crossing(float(at[i] - gain[i] * (at[i + 1] - at[i]) / (gain[i + 1] - gain[i])), len(turns))


def fit(depths: Sequence[float], log_widths: Sequence[float]) -> tuple[float, float]:
    """a and b of ln d = a + b L by least squares; NaN for fewer than two depths."""
    if len(set(depths)) < 2:
        return np.nan, np.nan
    b, a = np.polyfit(depths, log_widths, 1)
    return float(a), float(b)


class Found(NamedTuple):
    """Crossings of all pairs of depths, and a and b of the fit to those of neighbouring depths."""

    pairs: dict[tuple[int, int], Crossing | None]
    fit: tuple[float, float]


def all_crossings(curves: Mapping[int, Curve]) -> Found:
    """Of curves by depth.

    A crossing of neighbouring depths L < L' at N is taken as the transition of depth L, whose width there is
    sqrt(N / 12 L): from there on it gains by being deeper.
    """
    depths = sorted(curves)
    pairs = {(a, b): crossing(curves[a], curves[b]) for a, b in itertools.combinations(depths, 2)}
    inside = [(a, pairs[a, b]) for a, b in itertools.pairwise(depths)]
    inside = [(depth, found.log_n) for depth, found in inside if found is not None and np.isfinite(found.log_n)]
    widths = [(log_n - np.log(12 * depth)) / 2 for depth, log_n in inside]
    return Found(pairs, fit([depth for depth, _ in inside], widths))


def resampled(curves: Mapping[int, tuple[np.ndarray, np.ndarray]], resamples: int) -> list[Found]:
    """`all_crossings` of means over seeds drawn with replacement; scores are [B, S], a seed is the same in all."""
    rng = np.random.default_rng(0)
    seeds = next(iter(curves.values()))[1].shape[1]
    drawn = rng.integers(seeds, size=(resamples if seeds > 1 else 0, seeds))
    return [all_crossings({L: (n, s[:, chosen].mean(1)) for L, (n, s) in curves.items()}) for chosen in drawn]


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The percentiles of resamples, -inf and inf among them; NaN without any."""
    known = np.array([v for v in values if not np.isnan(v)])
    if not len(known):
        return np.nan, np.nan
    tail = (1 - level) / 2
    low, high = np.quantile(known, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)
