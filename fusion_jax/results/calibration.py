"""How well a cell's probabilities are calibrated: measures and curves, from the predictions of its other metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from fusion_jax import metrics
from fusion_jax.metrics.aurc import risk_coverage
from fusion_jax.metrics.base import Scored
from fusion_jax.metrics.brier import confidence
from fusion_jax.metrics.ece import reliability

GRID = np.linspace(0.01, 1, 100)  # coverages at which curves of several seeds are averaged


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Of one cell's seeds, on test rows.

    Attributes:
        values: {metric of the calibration table: float [S]}.
        accuracy: mean over the seeds.
        bins: count, mean confidence and accuracy [B], of the rows of all seeds together.
        risks: {"aurc" and, where there is one, "aurc_uncertainty": risk at the coverages `GRID`}, mean over seeds.
    """

    values: dict[str, np.ndarray]
    accuracy: float
    bins: tuple[np.ndarray, np.ndarray, np.ndarray]
    risks: dict[str, np.ndarray]


def of(each: Sequence[Scored]) -> Calibration:
    """The calibration of what was predicted, a seed each."""
    tops, risks = [], []
    for rows in each:
        top, correct = confidence(rows)
        tops.append((top, correct))
        by = dict(aurc=top) | ({} if rows.uncertainty is None else dict(aurc_uncertainty=-rows.uncertainty))
        risks.append({name: np.interp(GRID, *risk_coverage(score, correct)) for name, score in by.items()})
    return Calibration(
        metrics.scores(each, "calibration"),
        float(np.mean([correct.mean() for _, correct in tops])),
        reliability(*(np.concatenate(v) for v in zip(*tops, strict=True))),
        {name: np.mean([r[name] for r in risks], axis=0) for name in risks[0] if all(name in r for r in risks)},
    )
