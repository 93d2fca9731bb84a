"""Rows made by hand, for tests of how rows are compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusion_jax.results.row import Row


def row(label: str, values, metric: str = "accuracy", placement: str = "before", **fields: Any) -> Row:
    about = {"data": "d", "protocol": "honest", "setting": "default", **fields}
    values = {metric: np.asarray(values, float)} if values is not None else {}
    return Row(label, placement, values=values, parameters=None, seconds=None, **about)


def drawn(label: str, values, train: int, test: int, **fields: Any) -> Row:
    """A row whose splits are drawn anew for every seed."""
    sizes = dict(train_rows=(train,) * len(values), test_rows=(test,) * len(values))
    return row(label, values, seeds=tuple(range(len(values))), **sizes, **fields)


def fixed(label: str, right, **fields: Any) -> Row:
    """A row on fixed test rows, of which `right` [S, N] says whether they were predicted rightly."""
    right = np.asarray(right, float)
    mean, seeds = right.mean(1), tuple(range(len(right)))
    known = dict(tested=np.arange(right.shape[1]), influence=dict(accuracy=right - mean[:, None]))
    return row(label, mean, seeds=seeds, **known, **fields)
