"""Columns of a table as numbers: texts are refused by file, column and row, or become one column a value."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
import scipy.sparse as sp

from fusion_jax.arrays import lost_column, single
from fusion_jax.data.making.delimited import MISSING
from fusion_jax.data.making.reading import Table
from fusion_jax.data.making.report import some

MOST = 100  # different texts of one column that become columns


def features(table: Table, onehot: bool | Collection[str] = False) -> tuple[np.ndarray | sp.csr_matrix, list[str]]:
    """float32 [rows, d], NaN where a value is missing, and the names of the columns.

    Args:
        onehot: columns of texts that become a column of 0 and 1 for each of their values, in the order of those (0 in
            all where the cell is empty); True for all columns of texts.
    Raises:
        ValueError: a cell that is no finite number in float32; names file, column, row and value.
    """
    if sp.issparse(table.frame):
        return table.frame.astype(np.float32), [str(i) for i in range(table.frame.shape[1])]
    if table.frame.shape[1] == 0:
        raise ValueError(f"{table.where}: no column besides the ids; expected columns of numbers")
    if onehot is False and all(kind.kind in "biuf" for kind in map(_dtype, table.frame.dtypes)):
        x, names = table.frame.to_numpy(np.float64), list(table.frame.columns)
        _check_finite(table, x, names)
        return single(x), names
    parts, names = [], []
    for name in table.frame.columns:
        wanted = onehot is True or (onehot is not False and name in onehot)
        values = to_numbers(table.frame[name])
        if wanted and (values is None or onehot is not True):
            made, called = _one_hot(table, name)
        else:
            made, called = (_refused(table, name, onehot) if values is None else values)[:, None], [name]
        parts.append(made)
        names += called
    x = np.concatenate(parts, axis=1)
    _check_finite(table, x, names)
    return single(x), names


def _dtype(kind) -> np.dtype:
    """NumPy's dtype of a column; that of objects where it has another kind."""
    return kind if isinstance(kind, np.dtype) else np.dtype(object)


def to_numbers(series: pd.Series) -> np.ndarray | None:
    """float64 [rows], NaN where missing; None where a cell is something else."""
    if _dtype(series.dtype).kind in "biuf":
        return series.to_numpy(np.float64)
    if isinstance(series.dtype, pd.CategoricalDtype) or series.dtype.kind in "mMc":
        return None
    held = series.astype(object)
    texts = held.map(lambda v: v.strip() if isinstance(v, str) else v)
    texts = texts.map(lambda v: np.nan if v is None or v is pd.NA or (isinstance(v, str) and v in MISSING) else v)
    texts = texts.map(lambda v: {"true": 1.0, "false": 0.0}.get(v.lower(), v) if isinstance(v, str) else v)
    try:
        return pd.to_numeric(texts).to_numpy(np.float64)
    except (ValueError, TypeError):
        return None


def first_text(series: pd.Series) -> int:
    """The first row that holds no number."""
    return next(i for i in range(len(series)) if to_numbers(series.iloc[i : i + 1]) is None)


def _refused(table: Table, name: str, onehot) -> np.ndarray:
    row = first_text(table.frame[name])
    value, different = table.frame[name].iloc[row], table.frame[name].astype(str).nunique()
    hint = f"; onehot={name!r} makes a column of each of its {different} values" if 1 < different <= MOST else ""
    raise ValueError(
        f"{table.where}, column {name!r}, {table.place(row)}: {str(value)[:40]!r} is no number; expected a number or "
        f"nothing{hint}"
    )


def _one_hot(table: Table, name: str) -> tuple[np.ndarray, list[str]]:
    cells = ["" if v is None or v is pd.NA or v != v else str(v).strip() for v in table.frame[name].tolist()]
    values = sorted({v for v in cells if v not in MISSING})
    if not 0 < len(values) <= MOST:
        raise ValueError(
            f"{table.where}, column {name!r}: {len(values)} different values ({some(values)}); expected 1 to {MOST} to "
            "make a column of each"
        )
    return np.array([[cell == v for v in values] for cell in cells], np.float64), [f"{name}={v}" for v in values]


def _check_finite(table: Table, x: np.ndarray, names: list[str]) -> None:
    bad = np.argwhere(~np.isfinite(single(x)) & ~np.isnan(x))[:1]
    for row, column in bad:
        raise ValueError(
            f"{table.where}, column {names[column]!r}, {table.place(row)}: {x[row, column]}; expected a finite number "
            "(in float32)"
        )
    known = np.where(np.isnan(x), np.nanmean(np.where(np.isnan(x).all(0), 0, x), axis=0), x)
    if (column := lost_column(known)) is not None:
        raise ValueError(
            f"{table.where}, column {names[column]!r}: it lies in [{known[:, column].min()!r}, "
            f"{known[:, column].max()!r}], which float32 cannot tell apart; expected an origin nearer to its values"
        )
