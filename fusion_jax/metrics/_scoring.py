"""Predictions to numbers: the metrics of a task, each on what is true of the rows and what was predicted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fusion_jax import tasks, zoo
from fusion_jax.metrics.base import Metric, Scored


def of(task: str, table: str = "main") -> dict[str, Metric]:
    """{name: metric} of a task in the order of the table's columns; in "main" at the end what breaks its ties."""
    return dict(_of(task, table, tuple(zoo.names("metric"))))


def scores(each: Sequence[Scored], table: str = "main") -> dict[str, np.ndarray]:
    """{name: float [S]} of the metrics that a table shows, of several seeds; without those that do not apply to all."""
    return _of_all(each, table, lambda metric, rows: metric(rows))


def score(rows: Scored, name: str) -> float:
    """One metric of the main table, by the name that `scores` gives it.

    Raises:
        ValueError: these rows have no such metric.
    """
    prefix, _, plain = name.rpartition(": ")
    for own, part, columns in tasks.of(rows.target).parts(rows.target):
        if own == prefix and (metric := of(part.kind).get(plain)) is not None:
            value = metric(rows if not own else Scored(part, rows.prediction[:, columns], rows.uncertainty))
            if value is not None:
                return float(value)
    raise ValueError(f"a target of {rows.target.kind!r} has no metric {name!r}; it has: {', '.join(scores([rows]))}")


def influences(each: Sequence[Scored]) -> dict[str, np.ndarray]:
    """{name: psi [S, N]} of the metrics of the main table, on N rows that all seeds share, where it is known."""
    return _of_all(each, "main", lambda metric, rows: metric.influence(rows))


def _of_all(each: Sequence[Scored], table: str, value: Callable[[Metric, Scored], Any]) -> dict[str, np.ndarray]:
    found: dict[str, list] = {}
    known = functools.cache(lambda kind: tuple(of(kind, table).items()))  # seeds are alike
    for rows in each:
        for prefix, part, columns in tasks.of(rows.target).parts(rows.target):
            own = rows if not prefix else Scored(part, rows.prediction[:, columns], rows.uncertainty)
            for name, metric in known(part.kind):
                found.setdefault(f"{prefix}: {name}" if prefix else name, []).append(value(metric, own))
    return {name: np.array(v) for name, v in found.items() if all(number is not None for number in v)}


@functools.cache
def _of(task: str, table: str, files: tuple[str, ...]) -> tuple[tuple[str, Metric], ...]:
    own = tasks.of(task)
    chosen = [
        (name, metric)
        for file, (name, metric) in (walked(files) | walked(own.metrics)).items()
        if (zoo.short(task) in metric.tasks or file in own.metrics)
        and (metric.table == table or (table == "main" and name == own.tie))
    ]
    return tuple(sorted(chosen, key=lambda pair: (pair[1].table != table, pair[1].rank, pair[0])))


@functools.cache
def walked(files: tuple[str, ...]) -> dict[str, tuple[str, Metric]]:
    """{file: (name, metric)}."""
    made = {file: zoo.get("metric", file)() for file in files}
    return {file: (metric.name or zoo.short(file), metric) for file, metric in made.items()}
