"""The units of a regression target: a model learns standardised values, results are in the target's own."""

from __future__ import annotations

import dataclasses

import numpy as np

from fusion_jax.arrays import spread


@dataclasses.dataclass(frozen=True)
class Units:
    """The units of a regression target, from one seed's training rows: a model learns (y - shift) / scale.

    Attributes:
        shift, scale: float64 [K]; mean and standard deviation of every column.
    """

    shift: np.ndarray
    scale: np.ndarray

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """float32 [N, K], what a model learns; the difference is taken in float64."""
        return ((np.asarray(values, np.float64) - self.shift) / self.scale).astype(np.float32)

    def undo(self, prediction: np.ndarray) -> np.ndarray:
        """float64 [N, K] in the target's own units, of what a model predicts."""
        return np.asarray(prediction, np.float64) * self.scale + self.shift


def fit_units(values: np.ndarray, rows: np.ndarray) -> Units:
    """Mean and deviation of every column on `rows`; a column without spread there has the size of its mean, or 1."""
    fit = np.asarray(values)[rows]
    shift, deviation = fit.mean(0, dtype=np.float64), spread(fit)
    size = np.where(shift == 0, 1, np.abs(shift))
    return Units(shift, np.where(deviation > 0, deviation, size))
