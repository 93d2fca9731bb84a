"""A data set from arrays whose rows are the nodes, as users of PyTorch Geometric and DGL have them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from fusion_jax.arrays import flags, numbers, one_column, refuse, single
from fusion_jax.data._fields import PARTS, row_numbers
from fusion_jax.data.base import Dataset
from fusion_jax.data.making.tables import from_tables


def from_arrays(
    x: Mapping[str, Any] | Any,
    edge_index: Any = None,
    y: Any = None,
    *,
    edge_weight: Any = None,
    edge_time: Any = None,
    mask: Any = None,
    split: Mapping[str, Any] | None = None,
    ids: Sequence[Any] | None = None,
    class_names: Sequence[str] = (),
    name: str = "arrays",
    **options: Any,
) -> Dataset:
    """A data set from features, edges and labels by row number; see `tables.from_tables` for what is made of them.

    Args:
        x: {modality: [N, d]} (arrays, tensors, SciPy matrices), or one array, the modality "x". NaN is a single value
            that is missing; a row of nothing else lacks the modality.
        edge_index: int [2, E], senders and receivers, or {edge set: such}. Both directions of every pair are made,
            unless `directed`.
        y: labels [N]: integers are classes (-1: unlabelled), floats values (NaN: unlabelled); texts are classes;
            booleans or 0 and 1 [N, K] labels a node can have several of; floats [N, K] values.
        edge_weight, edge_time: [E], of the edges where there is one edge set.
        mask: bool [N, M], false where a node lacks a modality.
        split: {"train", "val", "test": masks [N], or row numbers}; drawn per seed if None.
        ids: what the nodes are called, [N].
        class_names: [C], of classes 0 ... C-1.
        options: the other keywords of `from_tables`.
    Raises:
        ValueError: arrays that do not fit each other; names the field, what was found and what was expected.
    """
    features = dict(x) if isinstance(x, Mapping) else {"x": x}
    held = {m: _features(value, f"x[{m!r}]") for m, value in features.items()}
    rows = {f"x[{m!r}]": value.shape[0] for m, value in held.items()}
    if y is None:
        raise ValueError("y: none; expected labels [N], by which the models are trained and compared")
    labels, kind = _labels(y, class_names)
    n = len(labels)
    for what, count in rows.items():
        if count != n:
            refuse(what, f"{count} rows", f"{n}, one a row of y")
    if mask is not None:
        there = flags(mask, "mask", f"bool [{n}, {len(held)}]")
        if there.shape != (n, len(held)):
            refuse("mask", f"shape {there.shape}", f"({n}, {len(held)})")
        held = {m: _without(value, there[:, i], m) for i, (m, value) in enumerate(held.items())}
    called = [edge_weight, edge_time] if isinstance(edge_index, Mapping) else []
    if any(array is not None for array in called):
        raise ValueError("edge_weight, edge_time: given beside several edge sets; expected one edge set")
    data = from_tables(
        {m: value if sp.issparse(value) else pd.DataFrame(value).rename(columns=str) for m, value in held.items()},
        labels,
        _edges(edge_index, edge_weight, edge_time),
        None if split is None else _split(split, n),
        **{"name": name, "by": "position", "source": "arrays of the user", "task": kind, **options},
    )
    if class_names and data.class_names:
        data = dataclasses.replace(data, class_names=tuple(map(str, class_names)))
    return data if ids is None else dataclasses.replace(data, ids=np.array([str(i) for i in ids], dtype=str))


def _features(value: Any, where: str) -> np.ndarray | sp.csr_matrix:
    if sp.issparse(value):
        return sp.csr_matrix(value)
    array = numbers(value, where, "numbers [N, d]")
    if array.ndim != 2 or array.shape[1] == 0:
        refuse(where, f"shape {array.shape}", "numbers [N, d], d at least 1")
    return array


def _without(x: np.ndarray | sp.csr_matrix, present: np.ndarray, modality: str) -> np.ndarray:
    if sp.issparse(x):
        raise ValueError(f"mask: modality {modality!r} is sparse; expected a dense one where nodes lack it")
    return np.where(present[:, None], single(x) if x.dtype.kind == "f" else x.astype(np.float64), np.nan)


def _labels(y: Any, class_names: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """Labels as a table, and the task that the dtype says; "" where the values do."""
    array = one_column(np.asarray(y))
    if array.dtype.kind in "USO":
        return pd.DataFrame({"label": array}), "classes"
    array = numbers(array, "y", "labels [N] or [N, K]")
    if array.ndim == 2:
        names = class_names if len(class_names) == array.shape[1] else range(array.shape[1])
        flat = array.dtype.kind == "b" or np.isin(array, (0, 1)).all()
        kind = "labels" if flat else "values"
        return pd.DataFrame(array.astype(float), columns=[str(name) for name in names]), kind
    if array.ndim != 1:
        refuse("y", f"shape {array.shape}", "labels [N] or [N, K]")
    if array.dtype.kind == "f":
        return pd.DataFrame({"label": array}), "values"
    array = array.astype(int)
    if class_names and not np.array_equal(np.unique(array[array >= 0]), np.arange(len(class_names))):
        found = np.unique(array[array >= 0])
        refuse("y", f"the classes {found.tolist()[:8]}", f"all {len(class_names)} that class_names has, from 0 on")
    return pd.DataFrame({"label": pd.Series(array, dtype=object).where(array >= 0, None)}), "classes"


def _edges(edge_index: Any, weight: Any, time: Any) -> Any:
    if edge_index is None:
        return None
    if isinstance(edge_index, Mapping):
        return {name: _edges(one, None, None) for name, one in edge_index.items()}
    ends = numbers(edge_index, "edge_index", "row numbers (integers) [2, E]")
    if ends.ndim != 2 or ends.shape[0] != 2 or ends.dtype.kind not in "iu":
        hint = " (transpose it)" if ends.ndim == 2 and ends.shape[1] == 2 else ""
        refuse("edge_index", f"{ends.dtype} {ends.shape}{hint}", "row numbers (integers) [2, E]")
    table = pd.DataFrame(dict(source=ends[0], target=ends[1]))
    for name, value in dict(weight=weight, time=time).items():
        if value is not None:
            array = one_column(numbers(value, f"edge_{name}", "numbers [E]"))
            if array.shape != (ends.shape[1],):
                refuse(f"edge_{name}", f"shape {array.shape}", f"({ends.shape[1]},), one an edge")
            table[name] = array
    return table


def _split(split: Mapping[str, Any], n: int) -> pd.DataFrame:
    if not isinstance(split, Mapping) or set(split) - set(PARTS) or not {"train", "test"} <= set(split):
        found = list(split) if isinstance(split, Mapping) else type(split).__name__
        refuse("split", f"{found}", "a dictionary with train, test and, where there is one, val")
    words = np.full(n, "", dtype=object)
    for part, rows in zip(split, row_numbers(split, n, "split"), strict=True):
        if rows.size and not 0 <= rows.min() <= rows.max() < n:
            refuse(f"split: {part}", f"rows from {rows.min()} to {rows.max()}", f"rows in [0, {n})")
        if taken := [words[r] for r in rows if words[r]]:
            refuse(f"split: {part}", f"{len(taken)} rows that are in {taken[0]} too", "disjoint parts")
        words[rows] = part
    return pd.DataFrame(dict(split=words))
