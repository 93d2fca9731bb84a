"""Rows over several data sets: average ranks, Friedman's test, and which rows it tells apart (Demsar, 2006)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from scipy import stats

from fusion_jax import metrics
from fusion_jax.results import paired
from fusion_jax.results.row import Row

LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Across:
    """K rows on D data sets, the best average rank first. The unit is the data set.

    Attributes:
        metric: by which they rank; "" where every data set has its own primary one.
        names: [K], labels and placements.
        data: [D].
        scores: [D, K], means over seeds.
        ranks: [D, K], 1 the best, of equal scores the mean rank.
        mean_ranks: [K].
        chi2, p: of Friedman's test, NaN for fewer than three rows or two data sets.
        f, f_p: of Iman and Davenport's form of it, which is less conservative.
        critical_difference: Nemenyi's q_.05 sqrt(K (K + 1) / (6 D)), of average ranks.
        nemenyi: [K, K], p of all pairs of ranks.
        wilcoxon: [K, K], p of the signed-rank test of all pairs of scores over data sets, after Holm; NaN where all
            scores of a pair are equal.
        groups: runs of rows (numbers into names) whose average ranks lie within the critical difference, the longest
            only, and none of one row: the bars of the critical-difference diagram.
        left_out: rows that some data set lacks.
    """

    metric: str
    names: tuple[str, ...]
    data: tuple[str, ...]
    scores: np.ndarray
    ranks: np.ndarray
    mean_ranks: np.ndarray
    chi2: float
    p: float
    f: float
    f_p: float
    critical_difference: float
    nemenyi: np.ndarray
    wilcoxon: np.ndarray
    groups: tuple[tuple[int, ...], ...]
    left_out: tuple[str, ...]


def across(table: Sequence[Row], metric: str = "") -> Across:
    """The rows that all data sets of a table have, ranked over the data sets.

    A row is the same on two data sets where label, placement and protocol are; and the setting, where some data set has
    such a row in several settings. Published rows take no part.

    Args:
        metric: "" for each data set's primary one.
    Raises:
        ValueError: fewer than two rows are in all data sets, or the table has one data set.
    """
    held = _means(table, metric)
    data = tuple(held)
    every = list(dict.fromkeys(name for of_data in held.values() for name in of_data))
    names = [name for name in every if all(name in of_data for of_data in held.values())]
    if len(data) < 2 or len(names) < 2:
        raise ValueError(
            f"across: {len(names)} rows are in all of {len(data)} data sets ({', '.join(data) or 'none'}); expected at "
            "least two of each"
        )
    scores = np.array([[held[d][name][0] for name in names] for d in data])
    signs = np.array([metrics.sign(held[d][names[0]][1]) for d in data])
    ranks = rank(scores * signs[:, None])
    order = np.argsort(ranks.mean(0), kind="stable")
    scores, ranks = scores[:, order], ranks[:, order]
    chi2, p, f, f_p = friedman(ranks)
    mean = ranks.mean(0)
    cd = critical_difference(len(names), len(data))
    return Across(
        metric,
        tuple(names[i] for i in order),
        data,
        scores,
        ranks,
        mean,
        chi2,
        p,
        f,
        f_p,
        cd,
        nemenyi(mean, len(data)),
        _wilcoxon(scores * signs[:, None]),
        groups(mean, cd),
        tuple(name for name in every if name not in names),
    )


def _means(table: Sequence[Row], metric: str) -> dict[str, dict[str, tuple[float, str]]]:
    """{data: {row: (mean, metric)}} of the rows that have a value of the metric."""
    able = [(row, metric or row.primary) for row in table]
    able = [(row, own) for row, own in able if own in row.values and np.isfinite(row.values[own]).all()]
    settings: dict[tuple[str, str], set[str]] = {}
    for row, _ in able:
        settings.setdefault((row.data, _name(row)), set()).add(row.setting)
    several = {name for (_, name), there in settings.items() if len(there) > 1}
    held: dict[str, dict[str, tuple[float, str]]] = {}
    for row, own in able:
        name = _name(row)
        name += f", {row.setting}" if name in several else ""
        held.setdefault(row.data, {})[name] = float(np.mean(row.values[own])), own
    return held


def _name(row: Row) -> str:
    return f"{row.name}, {row.placement}" + (f", {row.protocol}" if row.protocol != "honest" else "")


def rank(scores: np.ndarray) -> np.ndarray:
    """[D, K] of scores [D, K], 1 for the largest of a data set, of equal ones the mean rank.

    Equal are those that agree in 12 digits of the largest: the last bits of a mean are no difference.
    """
    largest = np.abs(scores).max(1, keepdims=True, initial=0)
    return stats.rankdata(-np.round(scores / np.where(largest > 0, largest, 1), 12), axis=1)


def friedman(ranks: np.ndarray) -> tuple[float, float, float, float]:
    """chi2 and its p, corrected for equal ranks, and Iman and Davenport's F and its p, of ranks [D, K].

    chi2 = 12 D / (K (K + 1)) (sum_k R_k^2 - K (K + 1)^2 / 4) without equal ranks; F = (D - 1) chi2 / (D (K - 1) - chi2)
    with K - 1 and (K - 1)(D - 1) degrees of freedom.
    """
    d, k = ranks.shape
    spread = ((ranks - (k + 1) / 2) ** 2).sum()
    if k < 3 or d < 2 or spread == 0:
        return (np.nan,) * 4
    chi2 = float((k - 1) * d**2 * ((ranks.mean(0) - (k + 1) / 2) ** 2).sum() / spread)
    left = d * (k - 1) - chi2
    f = float((d - 1) * chi2 / left) if left > 1e-12 else np.inf
    return chi2, float(stats.chi2.sf(chi2, k - 1)), f, float(stats.f.sf(f, k - 1, (k - 1) * (d - 1)))


def critical_difference(k: int, d: int, level: float = LEVEL) -> float:
    """Nemenyi's critical difference of average ranks of k rows on d data sets."""
    return float(stats.studentized_range.isf(level, k, np.inf) / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * d)))


def nemenyi(mean_ranks: np.ndarray, d: int) -> np.ndarray:
    """p [K, K] of Nemenyi's test of all pairs of average ranks over d data sets."""
    k = len(mean_ranks)
    z = np.abs(mean_ranks[:, None] - mean_ranks) / np.sqrt(k * (k + 1) / (6 * d))
    return np.where(np.eye(k, dtype=bool), 1.0, stats.studentized_range.sf(z * np.sqrt(2), k, np.inf))


def _wilcoxon(scores: np.ndarray) -> np.ndarray:
    k = scores.shape[1]
    found, upper = np.ones((k, k)), list(itertools.combinations(range(k), 2))
    p = paired.holm(np.array([paired.wilcoxon(scores[:, i] - scores[:, j]) for i, j in upper]))
    for (i, j), value in zip(upper, p, strict=True):
        found[i, j] = found[j, i] = value
    return found


def groups(mean_ranks: np.ndarray, apart: float) -> tuple[tuple[int, ...], ...]:
    """The longest runs of two or more rows, sorted by average rank, that lie within `apart`."""
    k, found = len(mean_ranks), []
    for i in range(k):
        last = max(j for j in range(i, k) if mean_ranks[j] - mean_ranks[i] < apart)
        if last > i and (not found or last > found[-1][-1]):
            found.append(tuple(range(i, last + 1)))
    return tuple(found)
