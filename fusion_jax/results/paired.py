"""What differences d [n] of two rows, one a seed, say of their mean: a corrected t test, and two exact tests beside it.

The unit of replication is the seed with its split, never the node.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from scipy import special, stats

EXACT = 16  # up to so many differences all 2^n signs are looked at, beyond that `DRAWN` of them
DRAWN = 9999


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean and how well it is known: (mean - true mean) / error has Student's t distribution.

    Attributes:
        mean: in the units of the differences.
        error: the standard error; NaN where nothing is known.
        df: degrees of freedom.
    """

    mean: float
    error: float
    df: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """mean -+ t error, t the quantile at (1 + level) / 2; NaN twice where nothing is known."""
        half = self.error * float(special.stdtrit(self.df, (1 + level) / 2))
        return self.mean - half, self.mean + half

    def above(self, value: float) -> float:
        """One-sided p of the true mean being at most `value`, against its lying above."""
        return float(special.stdtr(self.df, (value - self.mean) / self.error))

    def below(self, value: float) -> float:
        """One-sided p of the true mean being at least `value`, against its lying below."""
        return float(special.stdtr(self.df, (self.mean - value) / self.error))

    def p(self, value: float = 0.0) -> float:
        """Two-sided p of the true mean being `value`."""
        return np.nan if np.isnan(self.error) else min(1.0, 2 * min(self.above(value), self.below(value)))


def estimate(d: np.ndarray, ratio: float = 0.0, by_row: float = 0.0, rows: int = 0, *, least: float = 0.0) -> Estimate:
    """The mean of d [n] with error^2 = s^2 (1/n + ratio) + by_row, s the sample deviation over seeds.

    - ratio 0, by_row 0: the paired t test, for seeds that are independent.
    - ratio test rows / training rows: the corrected resampled t test of Nadeau and Bengio (2003), for splits that are
      drawn anew from the same rows and overlap, so that their results are correlated.
    - by_row: the variance of the mean over `rows` test rows that all seeds share, if others had been drawn
      (`results.influence`). Seeds and rows are crossed, and their variances add up (Owen, 2007); the degrees of
      freedom are Satterthwaite's.
    - least: what s is at least, in the units of d: steps of one row in a small test part are equal by chance.

    The error is NaN with fewer than two differences, and where all are equal, 0 too, and neither rows nor `least` tell.
    """
    n = len(d)
    if n < 2:
        return Estimate(float(np.mean(d)) if n else np.nan, np.nan, np.nan)
    mean = float(np.mean(d))
    seeds = spread(d, least) ** 2 * (1 / n + ratio)
    total = seeds + by_row
    if total == 0:
        return Estimate(mean, np.nan, np.nan)
    df = total**2 / (seeds**2 / (n - 1) + (by_row**2 / (rows - 1) if by_row else 0))
    return Estimate(mean, float(np.sqrt(total)), df)


def spread(d: np.ndarray, least: float = 0.0) -> float:
    """The sample deviation (ddof 1) of d [n], or `least` where that is more; NaN for fewer than two."""
    if len(d) < 2:
        return np.nan
    return max(0.0 if alike(d) else float(np.std(d, ddof=1)), least)


def alike(d: np.ndarray) -> bool:
    """Whether all differences are the same, but for rounding."""
    return bool(np.ptp(d) <= 1e-9 * np.abs(d).max(initial=0))


def sign_flip(d: np.ndarray) -> float:
    """p of the sign-flip permutation test of the mean: the share of sign patterns with a mean as far from 0.

    All 2^n patterns for n <= `EXACT`, else `DRAWN` drawn with a fixed seed, the observed one counted among them. NaN
    without differences.
    """
    return _as_extreme(np.asarray(d, float)) if len(d) else np.nan


def wilcoxon(d: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, differences of 0 left out, of equal ones the mean rank.

    Exact for n <= `EXACT`, with equal ranks too; beyond that SciPy's. NaN where all differences are 0 or none is there.
    """
    d = np.asarray(d, float)
    d = d[np.abs(d) > 1e-12 * np.abs(d).max(initial=0)]
    if not len(d):
        return np.nan
    if len(d) > EXACT:
        return float(stats.wilcoxon(_rounded(d)).pvalue)
    _, place, often = np.unique(_rounded(np.abs(d)), return_inverse=True, return_counts=True)
    ranks = np.cumsum(often) - (often - 1) / 2
    return _as_extreme(np.sign(d) * ranks[place])


def _rounded(d: np.ndarray) -> np.ndarray:
    """Differences whose last bits do not tell ranks apart: steps of 1e-12 of the largest."""
    unit = 1e-12 * np.abs(d).max()
    return np.rint(d / unit) * unit


def _as_extreme(d: np.ndarray) -> float:
    sums, own = np.abs(_signs(len(d)) @ np.abs(d)), abs(d.sum())
    extreme = int((sums >= own - 1e-9 * np.abs(d).sum()).sum())
    return extreme / len(sums) if len(d) <= EXACT else (extreme + 1) / (len(sums) + 1)


@functools.lru_cache(maxsize=32)
def _signs(n: int) -> np.ndarray:
    """float [patterns, n] of -1 and 1."""
    if n <= EXACT:
        return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    return np.random.default_rng(0).choice([-1.0, 1.0], size=(DRAWN, n))


def effect(d: np.ndarray, least: float = 0.0) -> float:
    """d_z, the mean by the `spread` of the differences; NaN where that is 0 or not known."""
    deviation = spread(d, least)
    return float(np.mean(d)) / deviation if deviation > 0 else np.nan


def improvement(d: np.ndarray) -> tuple[float, float, float]:
    """The share of differences above 0, ties counting half, and Wilson's 95 % interval of it; NaN without any."""
    if not len(d):
        return np.nan, np.nan, np.nan
    share, n, z = float(np.mean(d > 0) + np.mean(d == 0) / 2), len(d), special.ndtri(0.975)
    centre, spread = share + z**2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return share, float((centre - spread) / (1 + z**2 / n)), float((centre + spread) / (1 + z**2 / n))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p [m] (1979): the i-th smallest times (m - i), i from 0, made increasing; NaN stays uncounted."""
    p = np.asarray(p, float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * (len(order) - np.arange(len(order)))))
    return adjusted
