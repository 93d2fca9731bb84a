"""How well a metric is known from the test rows it was measured on: intervals from the influence of every row.

Seeds that share their test rows differ by training alone; what another draw of test rows would give, they do not
know. The influence of row i is psi_i = N dT/dw_i at equal weights w of the N rows. On rows drawn anew the metric T
has the variance var(psi) / N (the infinitesimal jackknife, Efron 1982), and the difference of two predictors that of
the difference of their psi: for accuracy this is the comparison of McNemar's table, for the AUC that of DeLong,
DeLong and Clarke-Pearson 1988.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import jax
import numpy as np
from scipy import special

from fusion_jax import metrics
from fusion_jax.metrics.base import Scored

GROUPS = 30  # of rows, that the jackknife leaves out


def half_width(psi: np.ndarray, level: float = 0.95) -> float:
    """Half the interval of a metric (or of a difference) with the influences psi [N], by Student's t with N - 1
    degrees of freedom; infinite for one row, of which nothing is known."""
    n = len(psi)
    if n < 2:
        return float("inf")
    return float(special.stdtrit(n - 1, (1 + level) / 2) * np.std(psi, ddof=1) / np.sqrt(n))


def wilson(share: float, rows: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval (1927) of a share of right rows among `rows`: wide at 0 and 1 too, where var(psi) is 0."""
    z = special.ndtri((1 + level) / 2)
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return float(centre - half), float(centre + half)


def by_seed(
    rows: Sequence[np.ndarray], known: Sequence[Mapping[str, np.ndarray]]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The rows that some seed tests, int [M], and their influence {metric: float32 [S, M]}, NaN where a seed does not.

    Args:
        rows: the test rows of each seed, int [N_s] each.
        known: {metric: [1, N_s]} of each seed; of a metric that one does not know it has NaN.
    """
    met, every = np.unique(np.concatenate(rows)), dict.fromkeys(metric for own in known for metric in own)
    found = {metric: np.full((len(rows), len(met)), np.nan, np.float32) for metric in every}  # they are large
    for s, (tested, of_seed) in enumerate(zip(rows, known, strict=True)):
        for metric, (psi,) in of_seed.items():
            found[metric][s, np.searchsorted(met, tested)] = psi
    return met, found


def over_seeds(psi: np.ndarray) -> np.ndarray:
    """[M] of psi [S, M], the mean over the seeds that test a row; NaN where none does, or a seed knows of no row."""
    there = ~np.isnan(psi)
    if not there.any(1).all():
        return np.full(psi.shape[1], np.nan)
    often = there.sum(0)
    total = np.add.reduce(psi, 0, dtype=float, where=there)
    return np.divide(total, often, where=often > 0, out=np.full(len(often), np.nan))


def of_shared_rows(each: Sequence[Scored]) -> dict[str, np.ndarray]:
    """{metric: psi [S, N]} of the main table's metrics on N rows that all seeds share: as the metric knows it, else by
    the jackknife."""
    known = metrics.influences(each)
    return {**known, **jackknife(each, known)}


def jackknife(each: Sequence[Scored], known: Collection[str] = ()) -> dict[str, np.ndarray]:
    """{metric: psi [S, N]} of the metrics of the main table but the `known` ones, on N rows that all seeds share.

    Rows lie in up to `GROUPS` groups, the same for every predictor; a metric is taken without each of them. The psi of
    a group's rows are scaled so that var(psi) / N is the variance of the delete-a-group jackknife (Shao and Wu, 1989).
    """
    n = len(each[0].prediction) if each else 0
    full = metrics.scores(each) if n > 1 else {}
    unknown = [m for m, values in full.items() if m not in known and np.isfinite(values).all()]
    if not unknown:
        return {}
    count = min(n, GROUPS)
    of = np.random.default_rng(0).permutation(n) % count
    left = [metrics.scores([_without(rows, of == g) for rows in each]) for g in range(count)]
    found = {}
    for metric in unknown:
        values = np.stack([scores.get(metric, np.nan * full[metric]) for scores in left], 1)  # [S, groups]
        if np.isfinite(values).all():
            found[metric] = np.sqrt((count - 1) * (n - 1)) * (values.mean(1, keepdims=True) - values)[:, of]
    return found


def _without(rows: Scored, gone: np.ndarray) -> Scored:
    target = jax.tree.map(lambda a: np.asarray(a)[~gone], rows.target)
    return Scored(target, rows.prediction[~gone], None if rows.uncertainty is None else rows.uncertainty[~gone])
