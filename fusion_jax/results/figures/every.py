"""All figures of a study, by the names of their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fusion_jax.results import calibration_study
from fusion_jax.results.across import across
from fusion_jax.results.calibration_study import Calibrated
from fusion_jax.results.figures import cost, critical_differences, differences, learning_curves
from fusion_jax.results.rendering.table import Table
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store

CHEAP = ("differences",)  # drawn in a moment, whatever the study


def of(
    store: Store, rows: Sequence[Row], made: Sequence[Table], calibrated: Sequence[Calibrated]
) -> Mapping[str, Callable[[], Any]]:
    """{name: function that draws it}; it returns None where the study has nothing for that figure."""
    return {
        "differences": lambda: differences.figure(made),
        "learning_curves": lambda: learning_curves.figure(store, made),
        "critical_differences": lambda: _ranks(rows),
        "cost": lambda: cost.figure(made),
        "calibration": lambda: calibration_study.figure(list(calibrated)) if calibrated else None,
    }


def _ranks(rows: Sequence[Row]):
    try:
        return critical_differences.figure(across(rows))
    except ValueError:  # one data set, or no two rows that all have
        return None
