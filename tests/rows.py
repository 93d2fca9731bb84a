"""Rows of tables, made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusion_jax.results.row import KNOWN, Row


def row(label: str, values: Any = None, placement: str = "before", *, data: str = "toy", **fields: Any) -> Row:
    """A fusion's row with these accuracies a seed, or {metric: values}; without a result where there are none."""
    scores = {} if values is None else values if isinstance(values, dict) else dict(accuracy=values)
    scores = {metric: np.array(v, float) for metric, v in scores.items()}
    about = dict(role="fusion", fusion=label, parameters=100, seconds=1.0)
    return Row(label, placement, data, "honest", "default", scores, **{**about, **fields})


def known(label: str, accuracy: float, kind: str = KNOWN, **fields: Any) -> Row:
    """A row that is not run."""
    given = dict(accuracy=(accuracy, None))
    return Row(label, "-", fields.pop("data", "toy"), kind, "", {}, None, None, published=given, source="S", **fields)


def noisy(mean: float, spread: float = 0.01, seeds: int = 10, draw: int = 0) -> np.ndarray:
    """[S], values a seed with exactly this mean and sample deviation."""
    found = np.random.default_rng(draw).normal(size=seeds)
    return mean + spread * (found - found.mean()) / found.std(ddof=1)
