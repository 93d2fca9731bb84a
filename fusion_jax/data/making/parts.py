"""The splits: those that a table states by id, or drawn per seed among the nodes that have a label."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from fusion_jax.data import splits
from fusion_jax.data.base import Split, Splits
from fusion_jax.data.making.reading import Table
from fusion_jax.data.making.report import Conversion, count
from fusion_jax.data.making.targets import NONE, Told

WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
OUT = ("unused", "none", "-")  # of a node in no part
COLUMNS = ("split", "part", "set", "fold")
SHARE = 0.2  # of the training rows, that validates where a table has training and test rows only


def drawn(told: Told, train: float, val: float, per_class: int | None, report: Conversion) -> Splits:
    """`per_class` labels a class, or shares, drawn per seed among labelled nodes, class by class if there are any."""
    rows = np.flatnonzero(told.labelled)
    if per_class is not None:
        if told.target.kind != "classes":
            raise ValueError(f"per_class={per_class} with a target of {told.target.kind!r}; expected classes")
        inner = splits.per_class(told.groups[rows], per_class)
    elif told.groups is None:
        inner = splits.fractions(np.zeros(len(rows)), train, val, stratify=False)
    else:
        inner = splits.fractions(told.groups[rows], train, val)
    try:
        inner.draw(0)
    except ValueError as error:
        hint = "" if told.target.kind != "classes" else " (task='values' takes labels for values to be predicted)"
        raise ValueError(f"split of seed 0: {error}{hint}") from error
    report.say(f"split: {inner.rule}{'' if told.groups is None else ', class by class'}")
    return splits.among(rows, inner, len(told.labelled))


def stated(table: Table, columns: list[str], rows: np.ndarray, told: Told, report: Conversion) -> Splits:
    """The split that a column states (train, val, test; empty: in no part), or one a column for seeds 0, 1, 2, ...

    Without validation rows a fifth of the training rows validates, drawn per seed. Unlabelled nodes are in no part.

    Args:
        rows: int [N], the table's row of every node, -1 where it has none.
    Raises:
        ValueError: another word, or a part without rows; names file, column and row.
    """
    parts = [_parts(table, name, rows, told.labelled, report) for name in columns]
    sizes = ", ".join(f"{part} {len(found):,}" for part, found in zip(("train", "val", "test"), parts[0], strict=True))
    if len(parts) > 1:
        report.say(f"split: {table.where} states one a seed, {len(parts)} of them; the first: {sizes}")
        made = [Split(*part) for part in parts]
        rule = f"stated by {len(parts)} columns of {table.where}, one a seed"
        return Splits(functools.partial(_of_seed, made, table.where), fixed=False, rule=rule, rows=len(rows))
    train, val, test = parts[0]
    report.say(f"split: {table.where}, column {columns[0]!r}: {sizes}")
    if len(val):
        return splits.fixed(train, val, test, f"stated by column {columns[0]} of {table.where}")
    groups = np.zeros(len(rows), int) if told.groups is None else told.groups
    report.say(f"split: no validation rows are stated: {SHARE:.0%} of the training rows validate, drawn per seed")
    return splits.fixed_test(groups, train, test, SHARE)


def _of_seed(made: list[Split], where: str, seed: int) -> Split:
    if seed >= len(made):
        raise ValueError(f"{where} states the splits of seeds 0 to {len(made) - 1}, none of seed {seed}")
    return made[seed]


def _parts(table: Table, name: str, rows: np.ndarray, labelled: np.ndarray, report: Conversion) -> list[np.ndarray]:
    cells = table.frame[name].tolist()
    words = []
    for row, value in enumerate(cells):
        text = "" if value is None or value is pd.NA or value != value else str(value).strip().lower()
        if text not in WORDS and text not in OUT and text not in map(str.lower, NONE):
            raise ValueError(
                f"{table.where}, column {name!r}, {table.place(row)}: {str(value)[:40]!r}; expected train, val, test "
                "or nothing"
            )
        words.append(WORDS.get(text, ""))
    found = np.where(rows >= 0, np.array(words, dtype=object)[rows], "")
    lost = int(((found != "") & ~labelled).sum())
    if lost:
        report.say(f"{table.where}: {count(lost, 'node')} of the split without a label left out of it")
    parts = [np.flatnonzero((found == part) & labelled) for part in ("train", "val", "test")]
    for part, here in zip(("train", "test"), (parts[0], parts[2]), strict=True):
        if not len(here):
            raise ValueError(f"{table.where}, column {name!r}: no labelled node is in the part {part!r}; expected some")
    return parts


def column_of(table: Table) -> list[str]:
    """The columns that state splits: one called split, part or set; else all of the table."""
    called = [name for name in table.frame.columns if name.lower() in COLUMNS]
    return called[:1] if called else list(table.frame.columns)
