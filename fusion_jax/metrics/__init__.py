"""How predictions are scored: one metric a file. base.py is the contract.

Metrics are found by walking this folder and the entry points `fusion_jax.metric`, and are those that a task names
(`Task.metrics`), in files of their own too; what is scored by itself within a target of several has its name before the
metric's, "colour: accuracy".
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Iterable

from fusion_jax import tasks, zoo
from fusion_jax.metrics._scoring import influences, of, score, scores, walked
from fusion_jax.metrics.base import Metric
from fusion_jax.records import Target

__all__ = ["check", "heading", "influences", "known", "named", "of", "score", "scores", "shown", "sign"]


def known() -> dict[str, Metric]:
    """{name: a metric of that name}, of all there are, and in files outside of all that tasks asked for so far name."""
    files = (file for task in tasks.asked() for file in task.metrics if zoo.is_path(file))
    outside = tuple(file for file in dict.fromkeys(files) if pathlib.Path(file).expanduser().is_file())
    return {**dict(walked(outside).values()), **dict(walked(tuple(zoo.names("metric"))).values())}


@functools.cache
def named(name: str) -> Metric:
    """A metric of that name, for its heading, direction and digits.

    Raises:
        ValueError: there is none; names the nearest.
    """
    plain, there = name.rpartition(": ")[2], known()
    if plain not in there:
        raise ValueError(f"no metric named {plain!r}{zoo.nearest(plain, there)}; there are: {', '.join(there)}")
    return there[plain]


def heading(name: str) -> str:
    """What stands over the column of a metric."""
    prefix, colon, _ = name.rpartition(": ")
    return prefix + colon + named(name).heading


def sign(name: str) -> int:
    """1 where more of a metric is better, -1 where less is."""
    return 1 if named(name).higher else -1


def shown(names: Iterable[str], table: str) -> list[str]:
    """Those of the names that a table shows, in the order of its columns; several targets as they come."""
    there = known()
    parts = {name: name.rpartition(": ") for name in names}
    prefixes = list(dict.fromkeys(prefix for prefix, _, _ in parts.values()))
    chosen = [name for name, (_, _, plain) in parts.items() if plain in there and there[plain].table == table]
    return sorted(chosen, key=lambda name: (prefixes.index(parts[name][0]), there[parts[name][2]].rank, name))


def check(target: Target) -> None:
    """Looks whether a target can be scored as its task says, before anything is trained.

    Raises:
        ValueError: the metric that ranks or breaks ties is not among the task's, or one of its own has the name of
            another metric whose column is another; names the task and the metric.
    """
    for _, part, _ in tasks.of(target).parts(target):
        task, there = tasks.of(part), of(part.kind)
        for role, name in (("primary", task.primary), ("tie", task.tie)):
            if name not in there and (name or role == "primary"):
                raise ValueError(
                    f"task {part.kind!r}: {role}={name!r} is none of its metrics{zoo.nearest(name, there)}; "
                    f"they are: {', '.join(there) or 'none'}"
                )
        for name, metric in there.items():
            if _column(metric) != _column(named(name)):
                raise ValueError(
                    f"task {part.kind!r}: its metric {name!r} has the name of another, whose heading, direction and "
                    f"table are {_column(named(name))}; its own are {_column(metric)}"
                )


def _column(metric: Metric) -> tuple[str, bool, str]:
    return metric.heading, metric.higher, metric.table
