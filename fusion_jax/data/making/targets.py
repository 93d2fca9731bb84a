"""What is to be predicted, from columns of labels: which task, which classes, which nodes have none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from fusion_jax.data.making import ids
from fusion_jax.data.making.classes import doubt
from fusion_jax.data.making.columns import first_text, to_numbers
from fusion_jax.data.making.reading import Table
from fusion_jax.data.making.report import Conversion, count, some
from fusion_jax.records import Target
from fusion_jax.zoo import nearest

NONE = ("", "NA", "N/A", "NaN", "nan", "<NA>", "NULL", "null")  # of a label: "None" may be a class
TASKS = ("classes", "values", "labels", "survival", "several")


@dataclasses.dataclass(frozen=True)
class Told:
    """What the labels say.

    Attributes:
        target: of all nodes; what it holds at nodes that are not `labelled` is valid and stands for nothing.
        labelled: bool [N].
        class_names: [C] or ().
        groups: int [N], what splits are stratified by, or None where nothing is.
    """

    target: Target
    labelled: np.ndarray
    class_names: tuple[str, ...] = ()
    groups: np.ndarray | None = None


def target_of(table: Table, columns: Sequence[str], task: str, rows: np.ndarray, report: Conversion) -> Told:
    """The target of the nodes.

    One column of texts or whole numbers is classes, one with fractions values. Of several columns: `time` and `event`
    are survival; only 0 and 1, several labels a node; only numbers with a fraction among them, several values; else
    several targets, one a column.

    Args:
        columns: those of the table that are labels.
        task: a name of TASKS; "" to find it by the rules.
        rows: int [N], the table's row of every node, -1 where it has none.
    Raises:
        ValueError: a cell that the task cannot have, or no label at all; names file, column and row.
    """
    if task not in ("", *TASKS):
        raise ValueError(f"task={task!r}{nearest(task, TASKS)}; expected one of {', '.join(TASKS)}, or '' to find it")
    if not columns:
        raise ValueError(f"{table.where}: no column besides the ids; expected a column of labels")
    missing = {name: _missing(table.frame[name]) for name in columns}
    found = task or _task(table, columns, missing)
    made = {
        "classes": _classes,
        "values": _values,
        "labels": _several_labels,
        "survival": _survival,
        "several": _several,
    }[found](table, list(columns), missing, rows)
    if not made.labelled.any():
        raise ValueError(f"{table.where}: no node has a label in {some(columns)}; expected some")
    _say(table, columns, found, made, report)
    return made


def _missing(series: pd.Series) -> np.ndarray:
    return np.array([v is None or v is pd.NA or v != v or str(v).strip() in NONE for v in series.tolist()], bool)


def _numbers(table: Table, name: str, missing: dict[str, np.ndarray]) -> np.ndarray | None:
    """float64 of the labels that are there; None where one is no number."""
    return to_numbers(table.frame[name][~missing[name]].reset_index(drop=True))


def _task(table: Table, columns: Sequence[str], missing: dict[str, np.ndarray]) -> str:
    held = {name: _numbers(table, name, missing) for name in columns}
    fractions = {name for name, x in held.items() if x is not None and np.any(x != np.round(x))}
    if len(columns) == 1:
        return "values" if fractions else "classes"
    if {"time", "event"} == {name.lower() for name in columns}:
        return "survival"
    if all(x is not None and np.isin(x, (0, 1)).all() for x in held.values()):
        return "labels"
    return "values" if fractions and all(x is not None for x in held.values()) else "several"


def _at(values: np.ndarray, rows: np.ndarray, otherwise) -> np.ndarray:
    """The values of every node [N, ...], something valid where the table has no row of it."""
    return np.where((rows >= 0).reshape(-1, *([1] * (values.ndim - 1))), values[rows], otherwise)


def _known(missing: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return (rows >= 0) & ~missing[rows]


def _classes(table: Table, columns: list[str], missing: dict[str, np.ndarray], rows: np.ndarray) -> Told:
    (name,) = _one(table, columns, "classes")
    known = _known(missing[name], rows)
    cells = [_class_text(v) for v in table.frame[name].tolist()]
    used = [cells[r] for r in rows[known]]
    numeric = to_numbers(pd.Series(used, dtype=object)) if used else None
    names = (
        sorted(set(used)) if numeric is None else [t for _, t in sorted(dict(zip(numeric, used, strict=True)).items())]
    )
    if numeric is not None and len(names) < len(set(used)):  # "1" and "01" are one number and two texts
        numeric, names = None, sorted(set(used))
    place = {text: i for i, text in enumerate(names)}
    labels = np.array([place.get(cell, 0) for cell in cells], np.int32)
    labels = np.where(known, labels[rows], 0).astype(np.int32)
    return Told(Target("classes", labels=labels, num_outputs=max(len(names), 1)), known, tuple(names), labels)


def _class_text(value) -> str:
    """A class as a text: whole numbers that a table holds as floats as they are written."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return ids.text(value).strip()


def _one(table: Table, columns: list[str], task: str) -> list[str]:
    if len(columns) != 1:
        raise ValueError(f"{table.where}: task={task!r} with the columns {some(columns, 8)}; expected one (target=)")
    return columns


def _values(table: Table, columns: list[str], missing: dict[str, np.ndarray], rows: np.ndarray) -> Told:
    values, known = [], np.ones(len(rows), bool)
    for name in columns:
        x = np.zeros(len(table))
        x[~missing[name]] = _checked(table, name, missing[name], _numbers(table, name, missing))
        values.append(x)
        known &= _known(missing[name], rows)
    held = np.where(known[:, None], _at(np.stack(values, 1), rows, 0.0), 0.0)
    return Told(Target("values", values=held, num_outputs=len(columns)), known)


def _checked(table: Table, name: str, missing: np.ndarray, x: np.ndarray | None) -> np.ndarray:
    """Numbers; raises ValueError naming the first cell that is none, or is not finite."""
    there = np.flatnonzero(~missing)
    if x is None:
        row = there[first_text(table.frame[name][~missing].reset_index(drop=True))]
        value = str(table.frame[name].iloc[row])[:40]
        raise ValueError(f"{table.where}, column {name!r}, {table.place(row)}: {value!r} is no number; expected one")
    if not np.isfinite(x).all():
        row = there[np.flatnonzero(~np.isfinite(x))[0]]
        raise ValueError(f"{table.where}, column {name!r}, {table.place(row)}: not finite; expected a finite number")
    return x


def _flags(table: Table, name: str, missing: np.ndarray, x: np.ndarray | None) -> np.ndarray:
    x = _checked(table, name, missing, x)
    bad = np.flatnonzero(~np.isin(x, (0, 1)))
    if bad.size:
        row = np.flatnonzero(~missing)[bad[0]]
        raise ValueError(f"{table.where}, column {name!r}, {table.place(row)}: {x[bad[0]]:g}; expected 0 or 1")
    made = np.zeros(len(missing), bool)
    made[~missing] = x == 1
    return made


def _several_labels(table: Table, columns: list[str], missing: dict[str, np.ndarray], rows: np.ndarray) -> Told:
    held = np.stack([_flags(table, name, missing[name], _numbers(table, name, missing)) for name in columns], 1)
    known = np.logical_and.reduce([_known(missing[name], rows) for name in columns])
    labels = _at(held, rows, False) & known[:, None]
    return Told(Target("labels", labels=labels, num_outputs=len(columns)), known, tuple(columns))


def _survival(table: Table, columns: list[str], missing: dict[str, np.ndarray], rows: np.ndarray) -> Told:
    called = {name.lower(): name for name in columns}
    if set(called) != {"time", "event"}:
        raise ValueError(f"{table.where}: task='survival' with the columns {some(columns, 8)}; expected time and event")
    time, event = called["time"], called["event"]
    x = np.ones(len(table))
    x[~missing[time]] = _checked(table, time, missing[time], _numbers(table, time, missing))
    if np.any(bad := x <= 0):
        row = int(np.argmax(bad))
        raise ValueError(f"{table.where}, column {time!r}, {table.place(row)}: {x[row]:g}; expected a time > 0")
    seen = _flags(table, event, missing[event], _numbers(table, event, missing))
    known = _known(missing[time], rows) & _known(missing[event], rows)
    event = _at(seen, rows, False) & known
    target = Target("survival", time=np.where(known, _at(x, rows, 1.0), 1.0), event=event)
    return Told(target, known, (), event.astype(np.int32))


def _several(table: Table, columns: list[str], missing: dict[str, np.ndarray], rows: np.ndarray) -> Told:
    parts = {}
    for name in columns:
        one = _values if _task(table, [name], missing) == "values" else _classes
        parts[name.replace(": ", " ")] = one(table, [name], missing, rows)
    outputs = sum(part.target.num_outputs for part in parts.values())
    target = Target("several", num_outputs=outputs, fields={name: part.target for name, part in parts.items()})
    groups = next((part.groups for part in parts.values() if part.groups is not None), None)
    return Told(target, np.logical_and.reduce([part.labelled for part in parts.values()]), (), groups)


def _say(table: Table, columns: Sequence[str], task: str, made: Told, report: Conversion) -> None:
    named = some(columns, 4)
    if task == "classes":
        sizes = np.bincount(made.groups[made.labelled], minlength=len(made.class_names))
        shown = [f"{name} {size}" for name, size in zip(made.class_names, sizes, strict=True)]
        more = ", ..." if len(shown) > 8 else ""
        report.say(
            f"{table.where}: {named} is {count(len(sizes), 'class', 'classes')}: {', '.join(shown[:8])}{more}",
            task=task,
            classes=dict(zip(made.class_names, sizes.tolist(), strict=True)),
        )
        doubt(f"{table.where}: {named}", list(made.class_names), sizes, report)
    else:
        words = {"values": "values to be predicted", "labels": "labels a node can have several of"}
        words |= {"survival": "time and event of survival", "several": "several targets, one a column"}
        report.say(f"{table.where}: {named}: {words[task]}", task=task)
    left = int((~made.labelled).sum())
    if left:
        report.say(f"{count(left, 'node')} without a label: in the graph, in no split", unlabelled=left)
    else:
        report.facts["unlabelled"] = 0
