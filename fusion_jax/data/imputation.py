"""Single values that are missing in a modality that a node has: what fills them, fitted on rows that may be seen.

A node without the modality is another matter (`Dataset.mask`): nothing is put there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp


def fit_fill(x: np.ndarray, present: np.ndarray, rows: np.ndarray, how: str) -> np.ndarray:
    """float32 [d], the mean or median of the known values of every column of x [N, d]; 0 of a column without any.

    Args:
        present: bool [N], rows that have the modality.
        rows: row numbers, or bool [N], of which the present ones are looked at, and no others.
        how: "mean" or "median".
    """
    fit = x[rows][present[rows]].astype(np.float64, copy=False)
    known = ~np.isnan(fit)
    value = np.zeros(x.shape[1])
    some = known.any(0)
    if how == "median" and some.any():
        value[some] = np.nanmedian(fit[:, some], axis=0)
    elif some.any():
        value[some] = np.where(known, fit, 0).sum(0)[some] / known.sum(0)[some]
    return value.astype(np.float32)


def unknown_columns(x: np.ndarray, present: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """bool [d], true at columns of which the present rows among `rows` have no value; false throughout without such."""
    fit = x[rows][present[rows]]
    return np.isnan(fit).all(0) if len(fit) else np.zeros(x.shape[1], bool)


def filled(x: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """x [N, d] with fill [d] in the place of NaN; the same array where there is none."""
    gaps = np.isnan(x)
    return np.where(gaps, fill.astype(x.dtype), x) if gaps.any() else x


def all_filled(
    features: Mapping[str, np.ndarray | sp.csr_matrix], mask: np.ndarray, rows: np.ndarray, how: str
) -> dict[str, np.ndarray | sp.csr_matrix]:
    """Every modality filled as `rows` tell; as it is where `how` is "", and where it is sparse."""
    made = dict(features)
    for m, (name, x) in enumerate(features.items()):
        if how and not sp.issparse(x):
            made[name] = filled(x, fit_fill(x, mask[:, m], rows, how))
    return made
