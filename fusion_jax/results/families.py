"""Which rows are compared with which: groups of one kind, rows by their names, baselines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fusion_jax import zoo
from fusion_jax.results.row import Row
from fusion_jax.study.tuning import untuned

BASELINE = "concat_mlp"


def usable(row: Row, metric: str) -> bool:
    """Whether a row can be compared: it was run, and has a value of the metric."""
    return metric in row.values and bool(np.isfinite(row.values[metric]).any())


def of_one_kind(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows by data set, task, protocol and setting: those of one group may be compared.

    Rows without any result, whose task is not known, stand at the end of each group that they may belong to.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    lacking: list[Row] = []
    for row in rows:
        if row.values:
            groups.setdefault((row.data, row.protocol, row.setting, row.task), []).append(row)
        else:
            lacking.append(row)
    for (*kind, _), group in groups.items():
        group += [row for row in lacking if [row.data, row.protocol, row.setting] == kind]
    return list(groups.values())


def is_named(row: Row, name: str) -> bool:
    """Whether a row has that label, or "label, placement"; of a tuned row without what it says of its tuning too."""
    names = (row.label, row.name, untuned(row.name))
    return name in names or name in [f"{own}, {row.placement}" for own in names]


def check_known(name: str, rows: Sequence[Row], what: str) -> None:
    if not any(is_named(row, name) for row in rows):
        there = dict.fromkeys(row.name for row in rows)
        raise ValueError(f"{what}: no row is named {name!r}{zoo.nearest(name, there)}; there are: {', '.join(there)}")


def baselines(group: Sequence[Row], baseline: str | tuple[str, str] | Row, metric: str) -> list[Row]:
    """The rows of a group (`of_one_kind`) that may be the baseline in a metric, the main one first.

    They are those of its name; of a group without any, those named `BASELINE`; of one without these either, the first
    row that can be compared. None where there are such rows and none of them has a value: then nothing is compared.
    """
    named = _those(group, baseline) or _those(group, BASELINE)
    able = [row for row in named if usable(row, metric)]
    if not named:
        able = [row for row in group if usable(row, metric)][:1]
    return sorted(able, key=lambda row: row.placement != "before")


def _those(group: Sequence[Row], baseline: str | tuple[str, str] | Row) -> list[Row]:
    """The rows that are meant, whether or not they have a result."""
    if isinstance(baseline, Row):
        return [row for row in group if row is baseline or (row.cell and row.cell == baseline.cell)]
    name = ", ".join(baseline) if isinstance(baseline, tuple) else baseline
    return [row for row in group if is_named(row, name)]


def baseline_of(row: Row, named: list[Row]) -> Row:
    """The one of the `baselines` that a row is compared with; of the main one itself."""
    if any(row is base for base in named):
        return named[0]
    return next((base for base in named if base.placement == row.placement), named[0])
