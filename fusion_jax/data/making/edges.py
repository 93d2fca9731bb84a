"""Edge sets from lists of pairs: by id or by position, directed or not, repeated pairs merged, loops left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import jraph
import numpy as np
import pandas as pd

from fusion_jax.data.base import edge_set
from fusion_jax.data.making import headers, ids
from fusion_jax.data.making.columns import first_text, to_numbers
from fusion_jax.data.making.delimited import LOOK
from fusion_jax.data.making.reading import Table, with_points
from fusion_jax.data.making.report import Conversion, count, some
from fusion_jax.data.repeats import codes, merged

ENDS = (  # names of the two columns, in the order sender, receiver
    ("source", "target"),
    ("sender", "receiver"),
    ("from", "to"),
    ("src", "dst"),
    ("start", "end"),
    ("node1", "node2"),
    ("id1", "id2"),
)
ARRAYS = ("weight", "time")
ROW_OR_NAMES = ("0", "1")  # an edge, or the names that pandas gives
MANY = 0.1  # share of edges with ids nobody knows, or of rows that repeat others, that looks like a mistake


def from_list(
    table: Table,
    names: list[str] | None,
    nodes: int,
    directed: bool,
    report: Conversion,
    name: str,
    header: bool | None = None,
) -> jraph.GraphsTuple:
    """The edge set of a list of edges, and a report of how it was read.

    Undirected (the usual), both directions of every pair are edges, whether the list has one or both. A pair that
    stands there again is merged: its weight is the mean, and where the list has times only edges of one time are the
    same. Loops are left out: layers that want them make their own.

    Args:
        names: the ids in the order of the nodes; None where the list holds positions.
        name: of the edge set.
        header: whether the first line of a text file names columns; if None it does, unless it names a node.
    Raises:
        ValueError: no edge joins two known nodes, a position outside [0, N), or a weight or time that is no number;
            names file, column and row.
    """
    if header is None:
        table = with_first_line(table, [str(i) for i in range(nodes)] if names is None else names)
        if table.lines and not table.first and ROW_OR_NAMES == tuple(table.frame.iloc[0, :2]):
            report.warn(
                f"{table.where}: its first line, {','.join(ROW_OR_NAMES)}, is read as an edge, as there are such "
                "nodes; if it names the columns, header=True says so (in data.toml: header = true)"
            )
    table = with_points(table, arrays_of(table))
    ends = ends_of(table)
    found = [ids.texts(table.frame[end]) for end in ends]
    for end, texts in zip(ends, found, strict=True):
        if "" in texts:
            raise ValueError(f"{table.where}, column {end!r}, {table.place(texts.index(''))}: no id; expected one")
    if names is None:
        a, b = (_positions(table, end, texts, nodes) for end, texts in zip(ends, found, strict=True))
    else:
        index = pd.Index(names)
        a, b = (index.get_indexer(pd.Index(texts, dtype=object)) for texts in found)
    arrays = {key: _numbers(table, key) for key in ARRAYS if _column(table, key)}
    extra = [c for c in table.frame.columns if c not in ends and c.lower() not in ARRAYS]
    known = (a >= 0) & (b >= 0)
    facts = dict(rows=len(a), unknown=int((~known).sum()))
    _say_unknown(table, found, names, known, a, b, report)
    loop = known & (a == b)
    kept = known & (a != b)
    a, b, arrays = a[kept], b[kept], {key: value[kept] for key, value in arrays.items()}
    more = _counts(a, b, arrays, nodes)
    senders, receivers, arrays = merged(a, b, arrays, directed, nodes)
    weightless = "weight" in arrays and len(senders) > 0 and not np.any(arrays["weight"])
    facts |= dict(loops=int(loop.sum()), directed=directed, weightless=weightless, **more)
    _say(table, facts, extra, directed, report)
    report.facts.setdefault("edges", {})[name] = facts
    return edge_set(senders, receivers, nodes, arrays)


def ends_of(table: Table) -> tuple[str, str]:
    """The two columns of ids: by their names, else the first two."""
    called = {name.lower(): name for name in table.frame.columns}
    for a, b in ENDS:
        if a in called and b in called:
            return called[a], called[b]
    rows, width = table.frame.shape
    if rows == 2 < width and list(table.frame.columns) == [str(i) for i in range(width)]:
        raise ValueError(f"{table.where}: an array of shape (2, {width}); expected a row an edge: transpose it")
    if width < 2:
        raise ValueError(f"{table.where}: one column; expected two of ids, such as source and target")
    return tuple(table.frame.columns[:2])


def _column(table: Table, key: str) -> str | None:
    return next((name for name in table.frame.columns if name.lower() == key), None)


def arrays_of(table: Table) -> list[str]:
    """The columns of a list of edges that hold their weight and time."""
    return [name for name in table.frame.columns if name.lower() in ARRAYS]


def with_first_line(table: Table, names: Collection[str]) -> Table:
    """The list with its first line as an edge, where that line names no columns but nodes.

    Args:
        names: ids of the nodes.
    """
    named = {name.lower() for name in table.first} & {name for pair in ENDS for name in pair}
    if named or len(table.first) < 2 or not {field.strip() for field in table.first[:2]} & set(names):
        return table
    first = pd.DataFrame([list(table.first)], columns=table.frame.columns)
    frame = pd.concat([first, table.frame], ignore_index=True)
    frame.columns = headers.names_of(frame.head(LOOK).astype(str).to_numpy().tolist(), "none")
    notes = (*table.notes, "no line of names: the first line is an edge")
    return dataclasses.replace(table, frame=frame, first=(), notes=notes)


def _positions(table: Table, end: str, texts: list[str], nodes: int) -> np.ndarray:
    """The row numbers in a column, checked."""
    plain = pd.Series(texts, dtype=str).str.fullmatch(r"[0-9]{1,18}").to_numpy(bool)
    values = np.where(plain, np.array(texts, dtype=object), "0").astype(np.int64)
    bad = np.flatnonzero(~plain | (values >= nodes))
    if bad.size:
        at, found = table.place(int(bad[0])), texts[bad[0]]
        raise ValueError(f"{table.where}, column {end!r}, {at}: {found!r}; expected a position in [0, {nodes})")
    return values


def _numbers(table: Table, key: str) -> np.ndarray:
    name = _column(table, key)
    values = to_numbers(table.frame[name])
    if values is None:
        row = first_text(table.frame[name])
    else:
        bad = np.flatnonzero(~np.isfinite(values) | ((values < 0) & (key == "weight")))
        if not bad.size:
            return values
        row = int(bad[0])
    expected = "a number >= 0" if key == "weight" else "a number"
    value = str(table.frame[name].iloc[row])[:40]
    raise ValueError(f"{table.where}, column {name!r}, {table.place(row)}: {value!r}; expected {expected}")


def _counts(a, b, arrays: dict[str, np.ndarray], nodes: int) -> dict[str, int | bool]:
    """How pairs repeat: in how many directions, how often, and whether each as often as the others."""
    pair = np.minimum(a, b) * nodes + np.maximum(a, b)
    pairs, times_seen = np.unique(pair, return_counts=True)
    both = np.intersect1d(np.unique(pair[a < b]), np.unique(pair[a > b])).size
    ordered = codes(a * nodes + b, arrays.get("time", np.zeros(len(a))))
    repeats = np.unique(ordered, return_counts=True)[1]
    return dict(
        pairs=int(pairs.size),
        one_directional=int(pairs.size - both),
        both_directions=int(both),
        duplicates=int((repeats - 1).sum()),
        times=int(repeats[0]) if repeats.size and (repeats == repeats[0]).all() else 0,
        times_pair=int(times_seen[0]) if times_seen.size and (times_seen == times_seen[0]).all() else 0,
        timed="time" in arrays,
    )


def _say_unknown(table: Table, found, names, known, a, b, report: Conversion) -> None:
    if names is None or known.all():
        return
    lost = dict.fromkeys(text for texts, at in zip(found, (a, b), strict=True) for text in np.array(texts)[at < 0])
    hint = ids.hint(lost, names)
    if not hint and ids.are_positions(lost, len(names)) and not all(name.isdigit() for name in names):
        hint = "; they look like row numbers, which are not the ids (by='position' takes all rows by their order)"
    if not known.any():
        raise ValueError(
            f"{table.where}: none of its {count(len(known), 'edge')} joins two known ids (there: {some(lost)}; the ids "
            f"are such as {some(names)}){hint}; expected the ids of the nodes"
        )
    gone = int((~known).sum())
    text = (
        f"{table.where}: {count(gone, 'edge')} of {len(known):,} left out, whose ids no node has "
        f"({count(len(lost), 'id')}: {some(lost)}){hint}"
    )
    if hint or gone >= MANY * len(known):
        report.warn(text, unknown_ids=len(lost))
    else:
        report.say(text, unknown_ids=len(lost))


def _say(table: Table, facts: dict, extra: list[str], directed: bool, report: Conversion) -> None:
    for note in table.notes:
        report.say(f"{table.where}: {note}")
    one, both = facts["one_directional"], facts["both_directions"]
    if directed:
        kept = f"{count(one + 2 * both, 'directed edge')}"
        ways = f"{count(both, 'pair')} joined both ways"
    else:
        kept = f"{count(facts['pairs'], 'pair')} of nodes joined both ways"
        ways = (
            f"{one:,} stand there in one direction only, both are made (directed=True leaves them as they are)"
            if one
            else "all stand there in both directions"
        )
    rest = [f"{count(facts['duplicates'], 'row')} that repeat another merged"] if facts["duplicates"] else []
    rest += [f"{count(facts['loops'], 'loop')} left out"] if facts["loops"] else []
    rest += [f"columns not read: {some(extra)}"] if extra else []
    report.say(f"{table.where}: {count(facts['rows'], 'row')}, {'; '.join([kept, ways, *rest])}")
    times = facts["times"] if facts["times"] > 1 else facts["times_pair"] if facts["times_pair"] > 2 else 0
    if facts["loops"] and not facts["pairs"]:
        report.warn(f"{table.where}: all its edges are loops, from a node to itself: no two nodes are joined")
    if facts["weightless"]:
        report.warn(f"{table.where}: all weights are 0: what weighs edges gets nothing along them")
    if times:
        report.warn(
            f"{table.where}: every edge stands there {times} times, and is one edge here: was it written {times} times?"
        )
    elif facts["duplicates"] >= MANY * facts["rows"]:
        report.warn(
            f"{table.where}: {facts['duplicates'] / facts['rows']:.0%} of its rows repeat another edge, and are merged "
            "with it (a column weight gets their mean)"
        )
