"""What a user holds (lists, tables, tensors) as NumPy arrays, and what float32 tells of it. Errors name the field."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np


def refuse(where: str, found: str, expected: str) -> NoReturn:
    """Raises the ValueError of a field: where it is, what was found there, what was expected."""
    raise ValueError(f"{where}: {found}; expected {expected}")


def numbers(value: Any, where: str, expected: str) -> np.ndarray:
    """A list, table, tensor or array as an array of booleans, integers or floats; `expected` is for the error.

    Raises:
        ValueError: text, dates, complex numbers, rows of different lengths, entries that are masked or absent.
    """
    if np.ma.is_masked(value):
        refuse(where, "a masked array with masked entries", expected)
    try:
        array = np.asarray(value)
        if array.dtype == object:  # tables with columns of several types hold Python's numbers
            array = np.array(array.tolist())
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {type(value).__name__} that is no array ({error}); expected {expected}") from error
    if array.dtype.kind not in "biuf":
        shown = type(value).__name__ if array.ndim == 0 else f"dtype {array.dtype}"
        refuse(where, shown, expected)
    return array


def one_column(array: np.ndarray) -> np.ndarray:
    """[N, 1] as [N]; any other shape as it is."""
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def flags(value: Any, where: str, expected: str) -> np.ndarray:
    """Booleans, or the integers 0 and 1, as booleans.

    Raises:
        ValueError: anything else, floats among it: 0.3 is not a yes or a no.
    """
    array = numbers(value, where, expected)
    if array.dtype == bool:
        return array
    if array.dtype.kind == "f" or array.size == 0:
        refuse(where, f"{array.dtype} {array.shape}", expected)
    bad = np.argwhere((array != 0) & (array != 1))
    if bad.size:
        refuse(where, f"{array.dtype} {array.shape}, row {bad[0][0]} holds {array[tuple(bad[0])]}", expected)
    return array.astype(bool)


def single(array: np.ndarray) -> np.ndarray:
    """The numbers in float32; what is too large for it becomes infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def spread(x: np.ndarray) -> np.ndarray:
    """Standard deviation of every column of x [N, d] in float64; 0 where it is rounding of the column's magnitude.

    The measure of "no spread" is the column's own largest number and the precision of its dtype, so that it does not
    depend on the unit; N = 0 has no spread.
    """
    if len(x) == 0:
        return np.zeros(x.shape[1])
    kind = np.finfo(x.dtype if x.dtype.kind == "f" else np.float64)
    x = x.astype(np.float64, copy=False)
    deviation, largest = x.std(0), np.abs(x).max(0)
    told = (deviation > 4 * float(kind.eps) * largest) & (deviation > float(kind.tiny)) & (x.max(0) > x.min(0))
    return np.where(told, deviation, 0)


def lost_column(x: np.ndarray) -> int | None:
    """The first column of x [N, d] that varies, but by less than float32 can tell; None where there is none.

    Seconds since 1970 in float32 are 128 seconds apart: of such a column only rounding would be left.
    """
    if x.dtype.kind == "b" or x.dtype.itemsize <= 4 and x.dtype.kind == "f" or x.size == 0:
        return None
    varies = spread(x) > 0 if x.dtype.kind == "f" else x.max(0) > x.min(0)
    lost = varies & (spread(single(x)) == 0)
    return int(np.argmax(lost)) if lost.any() else None
