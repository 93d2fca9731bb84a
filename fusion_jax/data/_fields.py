"""The fields of a data set in the one form its record holds; what has no plain meaning is refused by name.

Lists, tables, tensors and SciPy's formats become arrays, float64 and integers float32, 0 and 1 booleans, one column
[N, 1] a vector. Not converted, since more than one thing can be meant: one-hot rows (or several labels a row), labels
and row numbers that are floats, floats as a mask, one-dimensional features. Rows are taken as they lie, whatever index
a table has; where the columns of a mask have names, they are the modalities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jraph
import numpy as np
import scipy.sparse as sp

from fusion_jax import tasks, zoo
from fusion_jax.arrays import flags, lost_column, numbers, one_column, refuse, single
from fusion_jax.graphs import check_edges, node_counts
from fusion_jax.records import Target

PARTS = ("train", "val", "test")


def converted(d: Any) -> dict[str, Any]:
    """{field: value} of the fields of a `Dataset` that can come in several forms.

    Raises:
        ValueError: a field that has no plain meaning; names the data set, field, row and value, and what was expected.
    """
    where = f"data set {d.name!r}, field "
    mask = flags(_by_name(d.mask, d.features, where + "mask"), where + "mask", "bool [N, M]")
    if mask.ndim != 2:
        refuse(where + "mask", f"{mask.dtype} {mask.shape}", "bool [N, M]")
    if 0 in mask.shape:
        refuse(where + "mask", f"shape {mask.shape}", "at least one node and one modality")
    for field, wanted in (("features", "{modality: array [N, d]}"), ("graphs", "{name: edge set}")):
        given = getattr(d, field)
        if not isinstance(given, Mapping) or not all(isinstance(name, str) and name for name in given):
            names = f" with names {list(given)}" if isinstance(given, Mapping) else ""
            refuse(where + field, type(given).__name__ + names, f"a dictionary {wanted}, its names strings")
    if not isinstance(d.target, Target):
        refuse(where + "target", type(d.target).__name__, "a types.Target")
    if not hasattr(d.splits, "draw"):
        refuse(where + "splits", type(d.splits).__name__, "a data.base.Splits, as the rules of data.splits make")
    present = dict(zip(d.features, mask.T, strict=False))
    return dict(
        mask=mask,
        features={
            name: features(x, len(mask), present.get(name), f"{where}features[{name!r}]", bool(d.impute))
            for name, x in d.features.items()
        },
        ids=None if d.ids is None else texts(d.ids, where + "ids"),
        labelled=None if d.labelled is None else one_column(flags(d.labelled, where + "labelled", "bool [N]")),
        graphs={name: graph(g, len(mask), f"data set {d.name!r}, graphs[{name!r}]") for name, g in d.graphs.items()},
        target=target(d.target, where + "target"),
        class_names=() if d.class_names is None else tuple(map(str, d.class_names)),
    )


def _by_name(mask: Any, modalities: Any, where: str) -> Any:
    """A table whose columns are named, with its columns in the order of the modalities; anything else as it is."""
    columns = list(getattr(mask, "columns", ()))
    if not isinstance(modalities, Mapping) or not any(isinstance(c, str) for c in columns):
        return mask
    if sorted(map(str, columns)) != sorted(map(str, modalities)):
        refuse(where, f"a table with the columns {columns}", f"one column a modality: {list(modalities)}")
    return mask[list(modalities)]


def texts(value: Any, where: str) -> np.ndarray:
    """A vector of strings; whole numbers as they are written."""
    array = np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "UOiu":
        refuse(where, f"{array.dtype} {array.shape}", "strings [N]")
    return np.array([str(v) for v in array.tolist()], dtype=str)


def features(
    x: Any, rows: int, present: np.ndarray | None, where: str, gaps: bool = False
) -> np.ndarray | sp.csr_matrix:
    """One modality: float32 [N, d] or CSR; `present` [N] are the rows that count; with `gaps` NaN may stand in them."""
    expected = f"[{rows}, d], one row a node (mask has {rows} rows)"
    if sp.issparse(x):
        array = sp.csr_matrix(x)
        if not array.has_canonical_format:  # entries of one place are added up before they are judged
            array = array.copy()
            array.sum_duplicates()
        values = numbers(array.data, where, f"numbers {expected}")
    else:
        array = values = numbers(x, where, f"numbers {expected}")
    if array.ndim != 2 or array.shape[0] != rows:
        refuse(where, f"shape {array.shape}", expected)
    if array.shape[1] == 0:
        refuse(where, f"shape {array.shape}", f"{expected}, d at least 1")
    if present is None:
        present = np.ones(rows, bool)
    for row, column, value in not_finite(array, present, gaps):
        refuse(where, f"row {row} holds {value}", f"finite values wherever mask is true (column {column} is not)")
    if values is array and (column := lost_column(array[present])) is not None:
        low, high = array[present, column].min(), array[present, column].max()
        refuse(
            where,
            f"column {column} lies in [{low!r}, {high!r}], which float32 cannot tell apart",
            "columns with an origin nearer to their values (subtract one)",
        )
    if array.dtype == np.float32:
        return array
    if values is array:
        return single(array)
    return sp.csr_matrix((single(values), array.indices, array.indptr), shape=array.shape)


def not_finite(x: np.ndarray | sp.csr_matrix, present: np.ndarray, gaps: bool = False) -> list[tuple[int, int, Any]]:
    """[(row, column, value)] of the first entry of a present row that is no finite float32; [] where there is none.

    With `gaps` the NaN of a dense array are none.
    """
    if sp.issparse(x):
        rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
        bad = np.flatnonzero(~np.isfinite(single(x.data)) & present[rows])[:1]
        return [(int(rows[b]), int(x.indices[b]), x.data[b]) for b in bad]
    bad = ~np.isfinite(single(x)) & present[:, None]
    at = np.argwhere(bad & ~np.isnan(x) if gaps else bad)[:1]
    return [(int(r), int(c), x[r, c]) for r, c in at]


def graph(g: Any, rows: int, where: str) -> jraph.GraphsTuple:
    """An edge set of NumPy arrays, its floats float32."""
    if not isinstance(g, jraph.GraphsTuple):
        refuse(where, type(g).__name__, "a jraph.GraphsTuple, as data.base.edge_set makes")
    n_node = node_counts(g.n_node, where)
    senders, receivers = np.asarray(g.senders), np.asarray(g.receivers)
    edges = {} if g.edges is None else g.edges
    edges = check_edges(senders, receivers, int(n_node.sum()), edges, where, np.float32)
    return g._replace(senders=senders, receivers=receivers, n_node=n_node, edges=edges or None)


def target(t: Target, where: str) -> Target:
    """The target as its task converts it: NumPy arrays in one form."""
    if not zoo.is_path(t.kind) and t.kind not in (known := zoo.names("task")):
        refuse(where + ".kind", repr(t.kind), f"one of {known}")
    return tasks.of(t).convert(t, where)


def parts(split: Any, rows: int, where: str) -> list[np.ndarray]:
    """Training, validation and test rows as arrays of row numbers, where all three are masks over the rows too.

    Raises:
        ValueError: no split, a mask of another length, or parts of two forms.
    """
    if not all(hasattr(split, part) for part in PARTS):
        refuse(where, type(split).__name__, "a data.base.Split")
    return row_numbers({part: getattr(split, part) for part in PARTS}, rows, where)


def row_numbers(given: Mapping[str, Any], rows: int | None, where: str) -> list[np.ndarray]:
    """Each part as a vector of row numbers, in the order given; masks over `rows` (None: as many as they have).

    Raises:
        ValueError: masks of different length or of another than `rows`, a mask beside row numbers, floats.
    """
    found = {name: numbers(part, f"{where}: {name}", "row numbers (integers)") for name, part in given.items()}
    masks = [name for name, array in found.items() if array.dtype == bool]
    if masks and len(masks) < len(found):
        other = next(name for name in found if name not in masks)
        raise ValueError(
            f"{where}: {masks[0]} holds bool; expected row numbers (integers), as in {other}, or masks in all parts"
        )
    for name, array in found.items():
        if array.ndim != 1:
            refuse(f"{where}: {name}", f"shape {array.shape}", "a vector of row numbers, or a mask over the rows")
        if masks:
            rows = len(array) if rows is None else rows
            if len(array) != rows:
                refuse(f"{where}: {name}", f"a mask of {len(array)} rows", f"{rows}")
        elif array.size == 0:
            found[name] = array.astype(int)
        elif array.dtype.kind == "f":
            refuse(f"{where}: {name}", f"{array.dtype}", "row numbers (integers)")
    lengths = {len(array) for array in found.values()}
    if not masks and len(lengths) == 1 and min(lengths) > 2 and all(np.isin(a, (0, 1)).all() for a in found.values()):
        refuse(f"{where}: {', '.join(found)}", "only 0 and 1", "row numbers, or masks of bool")
    return [np.flatnonzero(array) if masks else array.astype(np.int64, copy=False) for array in found.values()]
