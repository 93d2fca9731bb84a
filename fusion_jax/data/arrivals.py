"""Nodes that are yet to join a data set: tables or arrays of their modalities, and their edges, checked and in order.

Everything is found by name: modalities by theirs, columns of a table by theirs where the names are known, rows of
tables by the index, edges by the ids of their ends. Only rows of arrays count in their order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from fusion_jax.arrays import flags, numbers, refuse, single
from fusion_jax.data.making.ids import text
from fusion_jax.data.repeats import merged
from fusion_jax.zoo import nearest


@dataclasses.dataclass(frozen=True)
class Arrivals:
    """n nodes.

    Attributes:
        ids: strings [n].
        features: {modality: float32 [n, d]}, NaN where a single value is missing.
        mask: bool [n, M].
    """

    ids: np.ndarray
    features: dict[str, np.ndarray]
    mask: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class Edges:
    """Edges of one edge set: node numbers [E] of senders and receivers, and arrays [E, ...]."""

    senders: np.ndarray
    receivers: np.ndarray
    arrays: dict[str, np.ndarray]


def arrivals(
    x: Mapping[str, Any],
    widths: Mapping[str, int],
    *,
    ids: Any = None,
    mask: Any = None,
    columns: Mapping[str, Sequence[str]] | None = None,
    known: Sequence[str] = (),
) -> Arrivals:
    """The nodes of tables or arrays.

    Args:
        x: {modality: table, array or sparse matrix [n, d]}. A modality that is not named is missing for all; so is a
            row of NaN throughout. Tables whose index has names (or numbers in another order) are joined by it.
        widths: {modality: d}, those that there are, in order.
        ids: of the rows, each once; of tables those of the index, else the numbers behind the `known`.
        mask: bool [n, M] in the order of `widths`, or {modality: bool [n]}; true where a node has the modality.
        columns: {modality: names of its columns}, where they are known: tables are read in this order.
        known: ids of the nodes that are there already.
    Raises:
        ValueError: an unknown modality (names the nearest), another width, columns that lack or are too many, an
            infinite value, an id that is there already; names the modality, row and column.
    """
    if not isinstance(x, Mapping):
        refuse("x", type(x).__name__, f"a dictionary {{modality: [n, d]}} of {list(widths)}")
    for name in x:
        if name not in widths:
            raise ValueError(f"x: no modality {name!r}{nearest(str(name), widths)}; there are: {', '.join(widths)}")
    ids = _ids(x, ids, known)
    features, present = {}, np.zeros((len(ids), len(widths)), bool)
    for m, (name, width) in enumerate(widths.items()):
        if name not in x:
            features[name] = np.zeros((len(ids), width), np.float32)
            continue
        features[name], present[:, m] = _modality(x[name], name, width, ids, (columns or {}).get(name))
    if mask is not None:
        present &= _mask(mask, widths, len(ids))
    for m, name in enumerate(widths):
        bad = np.argwhere(np.isinf(features[name]) & present[:, [m]])
        if bad.size:
            row, column = bad[0]
            refuse(f"x[{name!r}]", f"row {row} ({ids[row]}), column {column} is infinite", "finite numbers, or NaN")
    return Arrivals(ids, features, present)


def edges(given: Any, numbers_of: Mapping[str, int], old: int, names: Sequence[str], where: str, both: bool) -> Edges:
    """Edges among nodes that arrive and between these and others.

    Args:
        given: pairs of ids (sender, receiver) [E, 2]; or a table, its first two columns the pairs and the others edge
            arrays by name; or {"pairs": ..., array: [E, ...]}. Loops are dropped; a pair that is there again is one
            edge with the mean of its arrays, as where a data set is made (`repeats.merged`).
        numbers_of: {id: node number}.
        old: nodes below this number are there already.
        names: of the arrays that the edge set has.
        where: for errors.
        both: whether a pair is an edge in both directions, which then is the same edge.
    Raises:
        ValueError: an id that nobody has, a pair that is there already or an edge array that is missing or unknown;
            names the row.
    """
    pairs, arrays = _pairs(given, where)
    for name in arrays:
        if name not in names:
            raise ValueError(f"{where}: unknown edge array {name!r}{nearest(name, names)}; it has: {list(names)}")
    if absent := [name for name in names if name not in arrays]:
        refuse(where, f"no edge array {absent[0]!r}", "one value an edge of each array that the edge set has")
    ends = np.zeros((len(pairs), 2), np.int64)
    for row, pair in enumerate(pairs):
        for side in range(2):
            if (name := _text(pair[side])) not in numbers_of:
                near = nearest(name, numbers_of) if len(numbers_of) < 10_000 else ""
                raise ValueError(f"{where}: row {row} names {name!r}{near}, which is no node, old or new")
            ends[row, side] = numbers_of[name]
    if (bad := np.flatnonzero((ends < old).all(1))).size:
        joined = " and ".join(repr(_text(v)) for v in pairs[bad[0]])
        refuse(where, f"row {bad[0]} joins {joined}, which are old", "edges of nodes that arrive")
    place = np.flatnonzero(ends[:, 0] != ends[:, 1])
    held = {name: np.asarray(value)[place] for name, value in arrays.items()}
    a, b, held = merged(*ends[place].T, held, not both, max(numbers_of.values(), default=0) + 1)
    return Edges(a.astype(np.int32), b.astype(np.int32), held)


def edges_among(
    given: Any,
    new: Sequence[str],
    old: Sequence[str],
    edge_sets: Mapping[str, tuple[Sequence[str], bool]],
    directed: bool | None = None,
    first: int | None = None,
) -> dict[str, Edges]:
    """{edge set: the edges that arrive}, from one of the forms of `edges`, or {edge set: one of them}.

    Args:
        new, old: ids; the old nodes are 0, ..., len(old) - 1.
        edge_sets: {those that can be joined: names of its edge arrays, whether it has all edges in both directions}.
        directed: whether an edge is one in the direction given only; if None as the edge set is.
        first: number of the first new node, where it is not the one behind the old ones.
    Raises:
        ValueError: an edge set that cannot be joined, or none named where there are several; as `edges`.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or "pairs" in given:
        if len(edge_sets) != 1:
            expected = f"{{edge set: edges}} of {list(edge_sets)}" if edge_sets else "none: no edge set can be joined"
            refuse("edges", "one set of edges", expected)
        given = {next(iter(edge_sets)): given}
    first = len(old) if first is None else first
    places = {str(i): n for n, i in enumerate(old)} | {str(i): first + n for n, i in enumerate(new)}
    found = {}
    for name, own in given.items():
        if name not in edge_sets:
            refuse("edges", f"edge set {name!r}", f"one of {list(edge_sets)}, which can be joined")
        names, both = edge_sets[name]
        both = both if directed is None else not directed
        found[name] = edges(own, places, first, names, f"edges of {name!r}", both)
    return found


def by_graph(new: Arrivals, graphs: Any) -> tuple[Arrivals, np.ndarray, np.ndarray]:
    """The nodes with those of a graph side by side, how many each graph has, int32 [g], and what it is called.

    Args:
        graphs: [n], which graph each node is of.
    """
    names = np.array([_text(g) for g in graphs], dtype=object)
    if len(names) != len(new):
        refuse("graphs", f"{len(names)} entries", f"{len(new)}, one a node")
    called, number = list(dict.fromkeys(names)), {}
    for name in called:
        number[name] = len(number)
    number = np.array([number[name] for name in names], int)
    order = np.argsort(number, kind="stable")
    moved = Arrivals(new.ids[order], {name: x[order] for name, x in new.features.items()}, new.mask[order])
    return moved, np.bincount(number).astype(np.int32), np.array(called, dtype=object)


def _text(value: Any) -> str:
    return text(value.item() if isinstance(value, np.generic) else value)


def _named(table: Any) -> bool:
    """Whether the rows of a table have names (or numbers in another order than that of the rows)."""
    return isinstance(table, pd.DataFrame) and not table.index.equals(pd.RangeIndex(len(table)))


def _ids(x: Mapping[str, Any], ids: Any, known: Sequence[str]) -> np.ndarray:
    counts = {name: np.shape(value)[0] if np.ndim(value) or sp.issparse(value) else 0 for name, value in x.items()}
    if ids is None:
        tables = [table for table in x.values() if _named(table)]
        if tables:
            ids = list(dict.fromkeys(i for table in tables for i in table.index))
        else:
            ids = range(len(known), len(known) + max(counts.values(), default=0))
    ids = list(ids)
    for row, i in enumerate(ids):
        if i is None or i is pd.NA or i != i or i == "":
            refuse("ids", f"row {row}: {i!r}", "an id in every row")
    found = np.array([_text(i) for i in ids], dtype=object)
    for name, count in counts.items():
        if not _named(x[name]) and count != len(found):
            refuse(f"x[{name!r}]", f"{count} rows", f"{len(found)}, as many as there are ids")
    there = set(known)
    for row, name in enumerate(found):
        if name in there:
            again = "is the id of another row" if name in set(found[:row]) else "is an old node"
            refuse("ids", f"row {row}: {name!r} {again}", "ids that are new, each once")
        there.add(name)
    return found


def _modality(x: Any, name: str, width: int, ids: np.ndarray, columns: Sequence[str] | None) -> tuple[np.ndarray, ...]:
    """float32 [n, d], and bool [n] of the rows that have something."""
    where = f"x[{name!r}]"
    if isinstance(x, pd.DataFrame):
        x = _table(x, where, ids, columns)
    array = x.toarray() if sp.issparse(x) else numbers(x, where, f"numbers [{len(ids)}, {width}]")
    if array.ndim == 1 and width == 1:
        array = array[:, None]
    if array.shape != (len(ids), width):
        refuse(where, f"shape {array.shape}", f"[{len(ids)}, {width}]: {width} columns, as in training")
    array = single(array)
    return array, ~np.isnan(array).all(1)


def _table(x: pd.DataFrame, where: str, ids: np.ndarray, columns: Sequence[str] | None) -> pd.DataFrame:
    """The rows in the order of the ids where it has names of its own, the columns in theirs where they are known."""
    if columns is not None and any(isinstance(c, str) for c in x.columns):
        x = _one_hot(x, where, columns)
        lacking = [c for c in columns if c not in x.columns]
        if lacking:
            near = nearest(lacking[0], [str(c) for c in x.columns])
            refuse(where, f"no column {lacking[0]!r}{near} ({len(lacking)} lack)", f"the {len(columns)} of training")
        if more := [c for c in x.columns if c not in set(columns)]:
            refuse(where, f"column {more[0]!r}, which training had not", f"the {len(columns)} of training")
        x = x[list(columns)]
    if not _named(x):
        return x
    x = x.set_axis([_text(i) for i in x.index])
    if (twice := x.index[x.index.duplicated()]).size:
        refuse(where, f"the id {twice[0]!r} twice", "a row an id")
    if (unknown := x.index.difference(pd.Index(ids))).size:
        refuse(where, f"the id {unknown[0]!r}", "only ids of `ids`")
    return x.reindex(ids)


def _one_hot(x: pd.DataFrame, where: str, columns: Sequence[str]) -> pd.DataFrame:
    """The table with the columns "name=value" of training in the place of its column of texts `name`."""
    made = {}
    for column in columns:
        for name in () if column in x.columns else x.columns:
            if isinstance(name, str) and column.startswith(f"{name}="):
                made.setdefault(name, {})[column] = column.removeprefix(f"{name}=")
    for name, values in made.items():
        cells = ["" if pd.isna(cell) else str(cell).strip() for cell in x[name]]
        for row, cell in enumerate(cells):
            if cell and cell not in values.values():
                refuse(where, f"column {name!r}, row {row} holds {cell!r}", f"one of {', '.join(values.values())}")
        own = {column: np.array([float(cell == value) for cell in cells]) for column, value in values.items()}
        x = x.drop(columns=name).assign(**own)
    return x


def _mask(mask: Any, widths: Mapping[str, int], count: int) -> np.ndarray:
    """bool [n, M]."""
    if isinstance(mask, Mapping):
        if unknown := [name for name in mask if name not in widths]:
            raise ValueError(f"mask: no modality {unknown[0]!r}; there are: {', '.join(widths)}")
        rows = {name: flags(value, f"mask[{name!r}]", f"bool [{count}]") for name, value in mask.items()}
        mask = np.stack([rows.get(name, np.ones(count, bool)) for name in widths], axis=1)
    array = flags(mask, "mask", f"bool [{count}, {len(widths)}]")
    if array.shape != (count, len(widths)):
        refuse("mask", f"shape {array.shape}", f"[{count}, {len(widths)}], a column a modality: {list(widths)}")
    return array


def _pairs(given: Any, where: str) -> tuple[list, dict[str, Any]]:
    arrays: dict[str, Any] = {}
    if isinstance(given, pd.DataFrame):
        if given.shape[1] < 2:
            refuse(where, f"a table of {given.shape[1]} columns", "two columns of ids, then those of edge arrays")
        arrays = {str(c): given[c].to_numpy() for c in given.columns[2:]}
        given = list(zip(given.iloc[:, 0], given.iloc[:, 1], strict=True))
    elif isinstance(given, Mapping):
        arrays = {name: np.asarray(value) for name, value in given.items() if name != "pairs"}
        given = given.get("pairs", ())
    pairs = [tuple(pair) if np.ndim(pair) == 1 else (pair,) for pair in given]
    for row, pair in enumerate(pairs):
        if len(pair) != 2:
            hint = f": an array [2, {len(pair)}] is to be transposed" if len(pairs) == 2 < len(pair) else ""
            refuse(where, f"row {row} is {str(given[row])[:80]}", f"two ids, (sender, receiver){hint}")
    for name, value in arrays.items():
        if len(value) != len(pairs):
            refuse(where, f"{len(value)} values of {name!r}", f"{len(pairs)}, one an edge")
    return pairs, arrays
