"""Rows joined by id: which nodes there are, and which row of every table is whose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fusion_jax.data.making import ids
from fusion_jax.data.making.reading import Table, not_names
from fusion_jax.data.making.report import Conversion, count, some

FEW_COMMON = 0.1  # share of ids that two tables have in common, below which it looks like a mistake


def check_first_lines(tables: Sequence[Table]) -> None:
    """Raises ValueError where the first line of a text file holds an id of another table that its rows do not have."""
    for table in tables:
        if table.first and table.ids is not None:
            first = ids.column_of(list(table.first)).strip()
            others = (other for other in tables if other is not table and other.ids is not None)
            if first.lower() not in ids.NAMES and first not in table.ids:
                for other in others:
                    if first in other.ids:
                        raise not_names(table, f"{first!r} is an id of {other.where}")


def joined(tables, marked: Table, join: str, by: str, report: Conversion) -> tuple[list[str], dict[str, np.ndarray]]:
    """The nodes' ids in order, and of every modality the row of each node, -1 where it has none.

    Raises:
        ValueError: an intersection without any id, or (by position) tables of different lengths.
    """
    if by == "position":
        lengths = {table.where: len(table) for table in (*tables.values(), marked)}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"by='position' with tables of {', '.join(f'{n:,} rows ({where})' for where, n in lengths.items())}; "
                "expected as many rows in all"
            )
        n = len(marked)
        report.say(f"{count(n, 'node')}, rows of all tables taken in their order (by='position')", nodes=n)
        return [str(i) for i in range(n)], {m: np.arange(n) for m in tables}
    held = {m: set(table.ids) for m, table in tables.items()}
    found = set.union(*held.values())
    if join == "intersection":
        everywhere = set.intersection(*held.values(), set(marked.ids))
        if not everywhere:
            raise ValueError(
                "join='intersection': no id is in all tables ("
                + "; ".join(f"{t.where}: {some(t.ids)}" for t in (*tables.values(), marked))
                + _twins([t.ids for t in (*tables.values(), marked)])
                + "); expected common ids"
            )
        found = everywhere
    names = ids.in_order(found)
    index = pd.Index(names)
    rows = {}
    report.say(f"{count(len(names), 'node')} ({join} of {count(len(tables), 'feature table')})", nodes=len(names))
    for m, table in tables.items():
        at = pd.Index(table.ids).get_indexer(index)
        rows[m] = at
        gone = [i for i in table.ids if i not in found]
        absent = int((at < 0).sum())
        line = f"{table.where}: {count(len(table), 'row')}, {int((at >= 0).sum()):,} joined by {table.id_column}"
        line += f", {len(gone):,} dropped ({some(gone)})" if gone else ""
        line += f"; {count(absent, 'node')} without it: modality {m} is missing there" if absent else ""
        report.say(line + _order(table, next(iter(tables.values()))))
        report.facts.setdefault("tables", {})[m] = dict(
            rows=len(table), joined=int((at >= 0).sum()), dropped=len(gone), without=absent
        )
    _compare(tables, held, report)
    _say_alike(tables, names, report)
    return names, rows


def _order(table: Table, first: Table) -> str:
    """A word on rows that stand in another order than those of the first table."""
    at = pd.Index(first.ids).get_indexer(pd.Index(table.ids))
    return "" if np.all(np.diff(at[at >= 0]) > 0) else f"; its rows stand in another order than those of {first.where}"


def _twins(lists: Sequence[Sequence[str]]) -> str:
    """A hint where ids of two tables look alike, or are equal as numbers, and not as texts."""
    there = set(lists[0])
    for other in lists[1:]:
        if found := ids.hint([name for name in other if name not in there], lists[0]):
            return found
    return ""


def _say_alike(tables: dict[str, Table], names: list[str], report: Conversion) -> None:
    """Warns where nodes of two tables have ids that only look alike; not where one table tells them apart itself."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(ids.look(name), []).append(name)
    held = {table.where: set(table.ids) for table in tables.values()}
    found = []
    for group in groups.values():
        if len(group) > 1 and all(len(own.intersection(group)) < 2 for own in held.values()):
            found.append([(name, next(where for where, own in held.items() if name in own)) for name in group[:2]])
    if found:
        shown = "; ".join(" and ".join(f"{ids.shown(name)} ({where})" for name, where in pair) for pair in found[:3])
        what = " and in ".join(dict.fromkeys(ids.difference(a, b) for (a, _), (b, _) in found))
        report.warn(
            f"{count(len(found), 'pair')} of ids look alike and are two nodes each: {shown}"
            f"{', ...' if len(found) > 3 else ''}. They differ in {what} only: write them alike if they are the same",
            alike=len(found),
        )


def _compare(tables: dict[str, Table], held: dict[str, set[str]], report: Conversion) -> None:
    """Warns where two feature tables have (nearly) no id in common, or ids that only look different."""
    first, *others = tables
    for m in others:
        common, least = len(held[first] & held[m]), min(len(held[first]), len(held[m]))
        numbers = ids.same_number([i for i in tables[m].ids if i not in held[first]], tables[first].ids)
        hint = f"; {numbers[0]!r} and {numbers[1]!r} are equal as numbers and not as texts" if numbers else ""
        if common < FEW_COMMON * least or hint:
            report.warn(
                f"{tables[m].where} and {tables[first].where} have {common:,} of {least:,} ids in common (there: "
                f"{some(tables[m].ids)}; {some(tables[first].ids)}){hint}"
            )


def rows_of(table: Table, names: list[str], by: str, first: Table, report: Conversion) -> np.ndarray:
    """The row of every node in a table of labels or splits, -1 where it has none.

    Args:
        names: the ids of the nodes, in order.
        first: the table whose order of rows is the usual one.
    Raises:
        ValueError: none of its ids is a node's, or (by position) another number of rows.
    """
    for note in table.notes:
        report.say(f"{table.where}: {note}")
    if by == "position":
        if len(table) != len(names):
            raise ValueError(f"{table.where}: {len(table):,} rows; expected {len(names):,}, as in the others")
        return np.arange(len(names))
    at = pd.Index(table.ids).get_indexer(pd.Index(names))
    gone = sorted(set(table.ids) - set(names))
    if not (at >= 0).any():
        raise ValueError(
            f"{table.where}: none of its ids ({some(table.ids)}) is one of the nodes' ({some(names)})"
            f"{_twins([names, table.ids])}; expected the ids of the feature tables"
        )
    line = f"{table.where}: {count(len(table), 'row')}, {int((at >= 0).sum()):,} joined by {table.id_column}"
    line += f", {len(gone):,} dropped, whose ids no node has ({some(gone)})" if gone else ""
    line += _order(table, first)
    hint = _twins([names, gone]) if gone else ""
    (report.warn if hint else report.say)(line + hint)
    report.facts.setdefault("joined", {})[table.where] = dict(
        rows=len(table), joined=int((at >= 0).sum()), dropped=len(gone)
    )
    return at
