"""The difference of two rows, paired by seed and split, and how well it is known.

The unit of replication is the seed with its split, never the node. s^2 is the variance of the n differences over seeds;
how the seeds' splits lie decides what else there is:

- Splits drawn anew for every seed from the same rows overlap, so their results are correlated. With no more test than
  training rows: the corrected resampled t test of Nadeau and Bengio (2003), variance s^2 (1/n + test / training rows).
- With more test than training rows that correction would leave no power at all: it takes the whole of s^2 for noise of
  the test rows, of which there are many, while s^2 is that of the few training rows. So the two are told apart: results
  of two splits share, of what training rows do, at most training / all rows, and of what test rows do the variance over
  rows v = var(psi) / rows (psi the mean influence of each row on the difference). The variance is
  s^2 (1/n + training / test rows) + v.
- On fixed test rows more seeds say nothing of other rows: variance s^2 / n + v, the two crossed (Owen, 2007), where v
  is without what seeds add to it.
- Of rows whose splits are not stored Student's t over seeds, which overlap would make too narrow: the method says so.

A share of N test rows moves in steps of 1/N, and of few rows or seeds all differences may be the same by chance. So the
deviation over seeds of a metric between 0 and 1 is at least one test row, s >= 1/N (N the mean number of test rows of
the seeds), and s^2 + v >= 1/N^2 on fixed rows: what one row gives on which one of the two is right and the other wrong.
(Agresti and Min, 2005, add half a row to each cell of the paired table, for the same reason.) Seeds that differ by more
than a row say themselves what v is: more would take the power away and guard against nothing. A share of pairs of rows
(`Metric.pairs`) moves in steps of 4/N^2 and less; only differences that are all the same are as uncertain as a row.
Where N is not stored, or the metric is no share, nothing is known of differences that are all the same, 0 or not. What
is added makes p larger only: degrees of freedom are at most those without it.

The influence of a row is for accuracy that of McNemar's comparison, for the AUC DeLong's, for others by the delta
method or the jackknife (`results.influence`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from fusion_jax import metrics
from fusion_jax.results import influence, paired, sequential
from fusion_jax.results.paired import Estimate
from fusion_jax.results.row import Row

FLOOR = "; spread at least one test row"  # of a method, where it binds
BY_ROW = {"accuracy": "McNemar", "auc": "DeLong"}


@dataclasses.dataclass(frozen=True)
class Difference:
    """What is known of a - b on one metric.

    Attributes:
        seeds: those that both rows have with a finite value, [n].
        values: a - b of each, float [n], in the metric's own units.
        estimate: of their mean.
        variance: how it came about.
        looks: {number of seeds: the estimate then}, where the study was looked at while seeds were added.
        limit: to so many; 0 where it was not.
    """

    seeds: tuple[int, ...]
    values: np.ndarray
    estimate: Estimate
    variance: Variance
    looks: Mapping[int, Estimate] = dataclasses.field(default_factory=dict)
    limit: int = 0

    def p(self, test: Callable[[Estimate], float] = Estimate.p) -> float:
        """The two-sided p of a test of the estimate; the sequential one where there were looks (`results.sequential`).

        NaN where nothing is known, or the first look is yet to come.
        """
        if not self.limit:
            return test(self.estimate)
        return sequential.sequential_p([test(e) for e in self.looks.values()], tuple(self.looks), self.limit)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Of the mean; where there were looks one that holds at all of them together, NaN before the first."""
        if self.limit:
            level = 1 - sequential.nominal(tuple(self.looks), self.limit, 1 - level) if self.looks else np.nan
        return self.estimate.interval(level)

    @property
    def ratio(self) -> float:
        """What the variance of the mean holds beside s^2 / n, in s^2: more seeds do not take it away."""
        return self.variance.ratio + (self.variance.by_row / self.spread**2 if self.spread > 0 else 0.0)

    @property
    def spread(self) -> float:
        """s, the deviation over seeds, at least that of one test row; NaN of fewer than two seeds."""
        return paired.spread(self.values, self.variance.least)

    @property
    def effect(self) -> float:
        """d_z, the mean by s; NaN where it is not known."""
        return paired.effect(self.values, self.variance.least)


@dataclasses.dataclass(frozen=True)
class Variance:
    """What the variance of a mean difference holds beside s^2 / n.

    Attributes:
        method: in words.
        ratio: in s^2.
        by_row: v, in the metric's units squared, over `rows` test rows; 0 where it is no part of it.
        overlap: test rows by training rows of splits that are drawn anew; 0 where they are not.
        least: what s is at least, in the metric's units; 0 where that is not known.
    """

    method: str
    ratio: float = 0.0
    by_row: float = 0.0
    rows: int = 0
    overlap: float = 0.0
    least: float = 0.0


def difference(a: Row, b: Row, metric: str) -> Difference:
    """a - b, paired by seed, with the estimate that fits how their splits lie (see the module)."""
    of_a, of_b = a.by_seed(metric), b.by_seed(metric)
    d = {s: of_a[s] - of_b[s] for s in sorted(of_a.keys() & of_b.keys()) if np.isfinite(of_a[s] + of_b[s])}
    found = _of_seeds(a, b, metric, d)
    if not (limit := max(a.limit, b.limit)):
        return found
    shared = sorted(set(a.looks) & set(b.looks))
    looks = {n: _of_seeds(a, b, metric, {s: v for s, v in d.items() if s < n}).estimate for n in shared}
    said = f"{found.variance.method}; looked at {', '.join(map(str, shared)) or 'none'} of at most {limit} seeds"
    return dataclasses.replace(
        found, variance=dataclasses.replace(found.variance, method=said), looks=looks, limit=limit
    )


def _of_seeds(a: Row, b: Row, metric: str, differences: Mapping[int, float]) -> Difference:
    seeds, d = tuple(differences), np.array(list(differences.values()))
    plain = variance_of(a, b, metric, seeds)
    variance = _at_least_one_row(plain, _step(a, b, metric, seeds, d), d)
    estimate = paired.estimate(d, variance.ratio, variance.by_row, variance.rows, least=variance.least)
    df = paired.estimate(d, plain.ratio, plain.by_row, plain.rows).df
    estimate = dataclasses.replace(estimate, df=float(min(estimate.df, len(d) - 1 if np.isnan(df) else df)))
    said = variance.method
    if len(d) < 2:
        said = f"{'one common seed' if len(d) else 'no common seed'}: nothing is known"
    elif np.isnan(estimate.error):
        said += "; all seeds differ by the same: nothing is known"
    elif _less(paired.spread(d), variance.least) or _less(plain.by_row, variance.by_row):
        said += FLOOR
    return Difference(seeds, d, estimate, dataclasses.replace(variance, method=said))


def variance_of(a: Row, b: Row, metric: str, seeds: tuple[int, ...]) -> Variance:
    """What these seeds say of it; before it is at least that of one test row."""
    how = BY_ROW.get(metric.rpartition(": ")[2], "delta method or jackknife")
    if a.tested is not None and b.tested is not None and np.array_equal(a.tested, b.tested):
        psi = _influence(a, b, metric, seeds)
        if psi is None:
            return Variance("Student t by seed on fixed test rows (what other rows would give is not known)")
        return Variance(f"Student t by seed and by test row ({how})", 0.0, crossed(psi), psi.shape[1])
    overlap = max((found for row in (a, b) if (found := _overlap(row, seeds)) is not None), default=None)
    if overlap is None:
        unknown = any(row.cell and row.tested is None and not row.train_rows for row in (a, b))
        return Variance("Student t" + (" (sizes of the splits are not stored: not corrected)" if unknown else ""))
    other = _with_other_splits(a, b, seeds)
    if overlap > 1 and (psi := _met(a, b, metric, seeds)) is not None:
        said = f"Nadeau-Bengio for training rows, train/test {1 / overlap:.2f}, and by test row ({how}){other}"
        return Variance(said, 1 / overlap, float(np.var(psi, ddof=1) / len(psi)), len(psi), overlap)
    return Variance(f"Nadeau-Bengio, test/train {overlap:.2f}{other}", overlap, overlap=overlap)


def _at_least_one_row(variance: Variance, one: float, d: np.ndarray) -> Variance:
    """With s at least that of one test row, and s^2 + v of fixed rows at least its square."""
    fixed = variance.rows and not variance.overlap
    by_row = float(np.fmax(variance.by_row, one**2 - paired.spread(d) ** 2)) if fixed else variance.by_row
    return dataclasses.replace(variance, least=one, by_row=by_row)


def _step(a: Row, b: Row, metric: str, seeds: tuple[int, ...], d: np.ndarray) -> float:
    """1/N of a metric that is a share, N the test rows of that row of the two that has fewer; 0 where not known. Of a
    share of pairs 4/N^2, but where all differences d are the same."""
    named = metrics.named(metric)
    if not seeds or not named.fraction:
        return 0.0
    sizes = [size for row in (a, b) if (size := _test_rows(row, seeds))]
    one = 1 / min(sizes) if sizes else 0.0
    return min(one, 4 * one**2) if named.pairs and not paired.alike(d) else one


def _test_rows(row: Row, seeds: tuple[int, ...]) -> float:
    """The mean number of test rows of these seeds; 0 where it is not stored."""
    if row.tested is not None:
        return float(len(row.tested))
    return float(np.mean([row.test_rows[_at(row, s)] for s in seeds])) if row.test_rows else 0.0


def _less(a: float, b: float) -> bool:
    return a < b * (1 - 1e-9)


def crossed(psi: np.ndarray) -> float:
    """var over rows of the mean over seeds of psi [S, N], by N, less what seeds add to it, which s^2 / n holds too."""
    seeds, rows = psi.shape
    by_row = np.var(psi.mean(0), ddof=1)
    if seeds > 1:
        left = psi - psi.mean(0) - psi.mean(1, keepdims=True) + psi.mean()
        by_row = max(0.0, by_row - (left**2).sum() / ((seeds - 1) * (rows - 1)) / seeds)
    return float(by_row / rows)


def _influence(a: Row, b: Row, metric: str, seeds: tuple[int, ...]) -> np.ndarray | None:
    """psi [S, N] of the difference; None where it is not known, or of one row."""
    if metric not in a.influence or metric not in b.influence or not seeds or len(a.tested) < 2:
        return None
    of_a, of_b = (row.influence[metric][[_at(row, s) for s in seeds]] for row in (a, b))
    return of_a - of_b


def _met(a: Row, b: Row, metric: str, seeds: tuple[int, ...]) -> np.ndarray | None:
    """psi [M] of the mean difference of the rows that one of these seeds of both tests; None where it is not known."""
    if a.met is None or b.met is None or metric not in a.met_influence or metric not in b.met_influence:
        return None
    _, *shared = np.intersect1d(a.met, b.met, assume_unique=True, return_indices=True)
    of_a, of_b = (
        influence.over_seeds(row.met_influence[metric][[_at(row, s) for s in seeds]])[at]
        for row, at in zip((a, b), shared, strict=True)
    )
    psi = of_a - of_b
    psi = psi[~np.isnan(psi)]
    return psi if len(psi) > 1 else None


def _at(row: Row, seed: int) -> int:
    return row.seeds.index(seed) if row.seeds else seed


def _overlap(row: Row, seeds: tuple[int, ...]) -> float | None:
    """Test rows by training rows of splits that are drawn anew; None where they are not, or sizes are not known."""
    if row.tested is not None or not row.train_rows or not seeds:
        return None
    at = [_at(row, s) for s in seeds]
    trained = np.mean([row.train_rows[i] for i in at])
    return float(np.mean([row.test_rows[i] for i in at]) / trained) if trained else None


def _with_other_splits(a: Row, b: Row, seeds: tuple[int, ...]) -> str:
    """What there is to say where the rows had other splits at the same seed."""
    if not a.splits or not b.splits or all(a.splits[_at(a, s)] == b.splits[_at(b, s)] for s in seeds):
        return ""
    return "; their splits are not the same"
