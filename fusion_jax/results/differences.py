"""The difference of two rows, paired by seed and split, and how well it is known.

How the seeds' splits lie decides:

- splits drawn anew for every seed overlap, and so results are correlated: the corrected resampled t test (Nadeau and
  Bengio, 2003), whose variance is s^2 (1/n + test rows / training rows);
- fixed test rows: more seeds say nothing of other rows, so the variance over rows (the influence of each: for accuracy
  that of McNemar's comparison, for the AUC DeLong's, for others the delta method) is added to that over seeds;
- of rows whose splits are not stored Student's t over seeds, which overlap would make too narrow: the method says so.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from fusion_jax.results import paired
from fusion_jax.results.paired import Estimate
from fusion_jax.results.tables import Row

BY_ROW = {"accuracy": "McNemar", "auc": "DeLong"}


@dataclasses.dataclass(frozen=True)
class Difference:
    """What is known of a - b on one metric.

    Attributes:
        seeds: those that both rows have with a finite value, [n].
        values: a - b of each, float [n], in the metric's own units.
        estimate: of their mean.
        ratio: what the variance of the mean holds beside s^2 / n, in s^2; it does not shrink with more seeds.
        method: in words.
    """

    seeds: tuple[int, ...]
    values: np.ndarray
    estimate: Estimate
    ratio: float
    method: str


def difference(a: Row, b: Row, metric: str) -> Difference:
    """a - b, paired by seed, with the estimate that fits how their splits lie (see the module)."""
    of_a, of_b = a.by_seed(metric), b.by_seed(metric)
    seeds = tuple(s for s in sorted(of_a.keys() & of_b.keys()) if np.isfinite(of_a[s] + of_b[s]))
    d = np.array([of_a[s] - of_b[s] for s in seeds])
    ratio, by_row, rows, method = _variances(a, b, metric, seeds)
    estimate = paired.estimate(d, ratio, by_row, rows)
    if len(d) < 2:
        method = f"{'one common seed' if len(d) else 'no common seed'}: nothing is known"
    elif np.isnan(estimate.error):
        method += "; all seeds differ by the same: nothing is known"
    spread = 0.0 if len(d) < 2 or paired.alike(d) else float(np.var(d, ddof=1))
    return Difference(seeds, d, estimate, ratio + (by_row / spread if spread else 0.0), method)


def _variances(a: Row, b: Row, metric: str, seeds: tuple[int, ...]) -> tuple[float, float, int, str]:
    """Ratio, variance by row, number of test rows (`paired.estimate`), and the method in words."""
    if a.tested is not None and b.tested is not None and np.array_equal(a.tested, b.tested):
        psi = _influence(a, b, metric, seeds)
        if psi is None:
            return 0.0, 0.0, 0, "Student t by seed on fixed test rows (what other rows would give is not known)"
        how = BY_ROW.get(metric.rpartition(": ")[2], "delta method")
        return 0.0, float(np.var(psi, ddof=1) / len(psi)), len(psi), f"Student t by seed and by test row ({how})"
    drawn = [ratio for row in (a, b) if (ratio := _ratio(row, seeds)) is not None]
    if drawn:
        return max(drawn), 0.0, 0, f"Nadeau-Bengio, test/train {max(drawn):.2f}" + _unpaired(a, b, seeds)
    unknown = any(row.cell and row.tested is None and not row.train_rows for row in (a, b))
    return 0.0, 0.0, 0, "Student t" + (" (sizes of the splits are not stored: not corrected)" if unknown else "")


def _influence(a: Row, b: Row, metric: str, seeds: tuple[int, ...]) -> np.ndarray | None:
    """psi [N] of the mean difference over the seeds; None where it is not known, or of one row."""
    if metric not in a.influence or metric not in b.influence or not seeds or len(a.tested) < 2:
        return None
    of_a, of_b = (row.influence[metric][[_at(row, s) for s in seeds]].mean(0) for row in (a, b))
    return of_a - of_b


def _at(row: Row, seed: int) -> int:
    return row.seeds.index(seed) if row.seeds else seed


def _ratio(row: Row, seeds: tuple[int, ...]) -> float | None:
    """Test rows by training rows of splits that are drawn anew; None where they are not, or sizes are not known."""
    if row.tested is not None or not row.train_rows or not seeds:
        return None
    at = [_at(row, s) for s in seeds]
    trained = np.mean([row.train_rows[i] for i in at])
    return float(np.mean([row.test_rows[i] for i in at]) / trained) if trained else None


def _unpaired(a: Row, b: Row, seeds: tuple[int, ...]) -> str:
    """What there is to say where the rows had other splits at the same seed."""
    if not a.splits or not b.splits or all(a.splits[_at(a, s)] == b.splits[_at(b, s)] for s in seeds):
        return ""
    return "; their splits are not the same"
