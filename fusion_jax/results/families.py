"""Which rows are compared with which: groups of one kind, rows by their names, baselines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fusion_jax import zoo
from fusion_jax.results.tables import Row
from fusion_jax.study.tuning import untuned


def usable(row: Row, metric: str) -> bool:
    """Whether a row can be compared: it was run, and has a value of the metric."""
    return metric in row.values and bool(np.isfinite(row.values[metric]).any())


def of_one_kind(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows by data set, task, protocol and setting: those of one group may be compared."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.data, row.task, row.protocol, row.setting), []).append(row)
    return list(groups.values())


def is_named(row: Row, name: str) -> bool:
    """Whether a row has that label, or "label, placement"; of a tuned row without what it says of its tuning too."""
    names = (row.label, row.name, untuned(row.name))
    return name in names or name in [f"{own}, {row.placement}" for own in names]


def check_known(name: str, rows: Sequence[Row], what: str) -> None:
    if not any(is_named(row, name) for row in rows):
        there = dict.fromkeys(row.name for row in rows)
        raise ValueError(f"{what}: no row is named {name!r}{zoo.nearest(name, there)}; there are: {', '.join(there)}")


def baselines(group: list[Row], baseline: str | tuple[str, str] | Row) -> list[Row]:
    """The rows of a group that may be the baseline, the main one first."""
    if isinstance(baseline, Row):
        named = [row for row in group if row is baseline or (row.cell and row.cell == baseline.cell)]
    else:
        name = ", ".join(baseline) if isinstance(baseline, tuple) else baseline
        named = [row for row in group if is_named(row, name)]
    named = named or group[:1]
    return sorted(named, key=lambda row: row.placement != "before")


def baseline_of(row: Row, named: list[Row]) -> Row:
    """The one of the `baselines` that a row is compared with; of the main one itself."""
    if any(row is base for base in named):
        return named[0]
    return next((base for base in named if base.placement == row.placement), named[0])
