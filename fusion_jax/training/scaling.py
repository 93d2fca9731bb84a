"""The unit in which a model sees features: shift and scale of every column, fitted on training rows only."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from fusion_jax.arrays import spread
from fusion_jax.data.imputation import filled, fit_fill, unknown_columns

UNEVEN = 0.03  # a usual column with so small a part of its modality's spread is next to nothing after scale "modality"


def fit_scaler(x: np.ndarray, present: np.ndarray, rows: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """shift and scale [d] of (x - shift) * scale, from the present rows among `rows` only.

    "column": unit variance a column; "modality": one scale for the whole modality, 1 / sqrt(mean variance), which keeps
    columns that happen to be constant on few rows from exploding; "none": as it is; so too "row", which is no matter
    of columns and not fitted (`row_scaled`). The scale is 0 where there is no spread to take it from (a column with
    "column", a whole modality with "modality"; see `arrays.spread`): of such a column training rows tell nothing, and
    other rows would reach the model in whatever unit they have.
    """
    d = x.shape[1]
    fit = x[rows[present[rows]]]
    if how in ("none", "row") or len(fit) == 0:
        return np.zeros(d, np.float32), np.ones(d, np.float32)
    deviation = spread(fit)
    if how == "modality":
        deviation = np.full(d, np.sqrt((deviation**2).mean()))
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
    return fit.mean(0, dtype=np.float64).astype(np.float32), scale.astype(np.float32)


def lack(x: np.ndarray, present: np.ndarray, rows: np.ndarray, how: str) -> str:
    """What the training rows `rows` do not tell of a modality x [N, d], and what follows; "" where they tell enough."""
    fit = x[rows[present[rows]]]
    if len(fit) == 0:
        return "no training row has it; it is treated as missing everywhere"
    if how not in ("column", "modality"):
        return ""
    deviation = spread(fit)
    varies = deviation > 0
    if not varies.any():
        return "no column varies over the training rows; it is 0 wherever it is present"
    if how == "column" and (~varies & (spread(x[present]) > 0)).any():
        return (
            f"some of its {x.shape[1]} columns do not vary over the training rows: data.scale='column' has no unit for "
            "them, and they are 0 everywhere"
        )
    usual = np.sort(deviation[varies])[(varies.sum() - 1) // 2]
    if how == "modality" and usual < UNEVEN * np.sqrt((deviation[varies] ** 2).mean()):
        return (
            f"column {deviation.argmax()} has so much more spread than the others that data.scale='modality', one "
            "number for all, leaves next to nothing of them: data.scale='column' gives each its own"
        )
    return ""


def unknown(x: np.ndarray, present: np.ndarray, rows: np.ndarray) -> str:
    """Which columns of x [N, d] have no value in the training rows `rows`, and what follows; "" where all have one."""
    columns = np.flatnonzero(unknown_columns(x, present, rows))
    if not columns.size:
        return ""
    return f"column {columns[0]} has no value in any training row ({columns.size} such columns); it is 0 everywhere"


def warn_of_lacks(
    data: str,
    features: Mapping[str, np.ndarray],
    mask: np.ndarray,
    rows: Mapping[int, np.ndarray],
    how: str,
    impute: str = "",
) -> None:
    """One warning for each lack of a modality, with its seeds.

    Args:
        data: name of the data set.
        rows: {seed: its training nodes}.
        impute: how missing values are filled, "" where there are none.
    """
    for i, (name, x) in enumerate(features.items()):
        found: dict[str, list[int]] = {}
        for seed, nodes in rows.items():
            known = x
            if impute:
                known = filled(x, fit_fill(x, mask[:, i], nodes, impute))
                found.setdefault(unknown(x, mask[:, i], nodes), []).append(seed)
            found.setdefault(lack(known, mask[:, i], nodes, how), []).append(seed)
        for what, seeds in found.items():
            if what:
                of = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
                warnings.warn(f"data set {data!r}, modality {name!r}, {of}: {what}", stacklevel=4)


def row_scaled(x: np.ndarray, present: np.ndarray) -> np.ndarray:
    """x [N, d], each present row divided by the sum of its absolute values; missing rows and rows of 0 as they are.

    A single value that is missing (NaN) stays so, and is not in the sum.
    """
    total = np.abs(np.where(present[:, None] & ~np.isnan(x), x, 0)).sum(1, dtype=np.float64)
    return np.where(total[:, None] > 0, x / np.where(total > 0, total, 1)[:, None], x).astype(x.dtype)
