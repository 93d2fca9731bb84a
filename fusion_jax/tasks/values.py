"""Regression: every row has K values; a model learns them in standardised units, results are in the target's own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from fusion_jax.arrays import numbers, refuse, single, spread
from fusion_jax.tasks.base import Field, Task, stored


def floats(value: Any, where: str, expected: str) -> np.ndarray:
    """Numbers as float32 where they are that already, else as float64: the host takes differences of them."""
    array = numbers(value, where, expected)
    return array if array.dtype == np.float32 else array.astype(np.float64, copy=False)


def to_values(value: Any, where: str) -> np.ndarray:
    """float32 or float64 [N, K]; a vector is one column."""
    array = floats(value, where, "numbers [N, K]")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        refuse(where, f"shape {array.shape}", "[N, K]")
    return array


@dataclasses.dataclass(frozen=True)
class Units:
    """The units of a prediction, from one seed's training rows: a model learns (y - shift) / scale.

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


class Values(Task):
    """`values` float [N, K], of any unit."""

    fields = {"values": Field(to_values)}
    loss = "mse"
    primary = "rmse"
    dtype = np.float64  # float32 of a year has no seconds

    def validate(self, target, data, fail):
        del data
        if target.values.shape[1] != target.num_outputs:
            fail("target.values", f"shape {target.values.shape}", f"[{len(target)}, {target.num_outputs}]")
        bad = np.argwhere(~np.isfinite(single(target.values)))  # squares of larger ones would leave float64 too
        if bad.size:
            row, found = bad[0][0], target.values[tuple(bad[0])]
            fail("target.values", f"row {row} holds {found}", "finite values (in float32)")

    def units(self, target, rows):
        return fit_units(target.values, rows)

    def learned(self, target, units):
        return dataclasses.replace(target, values=units.standardise(target.values))

    def columns(self, target):
        return {"values": stored(np.asarray(target.values, self.dtype))}
