"""The table of a study: a row a variant x placement, with means, spreads, sizes and seconds.

Rows are read from the Parquet files of the store; nothing is trained again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from fusion_jax import metrics, plan, zoo
from fusion_jax.results import influence, singles
from fusion_jax.results.data_names import data_names, stated_names
from fusion_jax.results.entries import Entry, read
from fusion_jax.results.row import PUBLISHED, Row
from fusion_jax.results.store import Store
from fusion_jax.study import short


def rows(store: Store) -> list[Row]:
    """The rows of a study in the order of its sweep, failed cells among them, derived rows after their sources.

    Of rows that are not run those come along whose data the study has: a study that is asked for one of its data sets
    alone shows no table of figures from elsewhere.

    Raises:
        FileNotFoundError: the folder holds no study.
    """
    written = store.read_study()
    planned = tuple(written.get("looks", {}).get("plan", ()))
    entries = [
        Entry(e["id"], e["label"], e["seeds"], plan.of(e["config"]), e["config"], planned, e.get("tuned", {}))
        for e in written["cells"]
    ]
    parts = [e.plan.data for e in entries]
    names, stated = data_names(parts), stated_names(parts)
    found = singles.with_best(store, [(read(store, entry, names), entry) for entry in entries])
    known = {row.data: row.task for row in found if row.values}
    of_others = [(entry, stated.get(short(entry["data"]))) for entry in written.get("published", ())]
    return found + [_published(entry, data, known.get(data)) for entry, data in of_others if data is not None]


def _published(entry: dict[str, Any], data: str, task: str | None) -> Row:
    """A row without seeds, whose protocol says what it is; without a `task` it is of that of most of its metrics."""
    values = {m: (float(mean), None if sd is None else float(sd)) for m, (mean, sd) in entry["values"].items()}
    task = task or max(zoo.names("task"), key=lambda kind: len(values.keys() & metrics.of(kind).keys()))
    return Row(
        entry["label"],
        "-",
        data,
        entry.get("protocol", PUBLISHED),
        "",
        {},
        None,
        None,
        task=task,
        published=values,
        source=entry["source"],
    )


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Student t interval of the mean over seeds; the mean itself twice where there is one seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, mean
    half = special.stdtrit(len(values) - 1, (1 + level) / 2) * np.std(values, ddof=1) / np.sqrt(len(values))
    return mean - half, mean + half


def of_rows(row: Row, metric: str) -> tuple[float, float] | None:
    """95 % interval of a metric if the fixed test rows were drawn anew: Wilson's for a share of right rows (of the mean
    over seeds, as if it were one predictor's), by the influence of each row for others; None where it is not known."""
    if row.tested is None or metric not in row.influence:
        return None
    mean = float(np.mean(row.values[metric]))
    if metrics.named(metric).share:
        return influence.wilson(mean, len(row.tested))
    half = influence.half_width(row.influence[metric].mean(0))
    return mean - half, mean + half


def cell_text(row: Row, metric: str, *, percent: bool = False) -> str:
    """Mean and sample standard deviation, "0.716 ± 0.020"; the mean alone for one seed, a dash where there is nothing.

    The mean alone too where all seeds of a control, or on fixed test rows, give the same: they are one fit, and how
    sure it is does not show in their spread.

    Args:
        percent: whether a metric between 0 and 1 is told in percent, "71.6 ± 2.0".
    """
    scale, digits = scaling(metric, percent)
    if metric in row.published:
        mean, sd = row.published[metric]
        digits = digits if percent else 3
        return f"{scale * mean:.{digits}f}" + ("" if sd is None else f" ± {scale * sd:.{digits}f}")
    values = row.values.get(metric)
    if values is None or not np.isfinite(values).all():
        return "-"
    mean = f"{scale * values.mean():.{digits}f}"
    one_fit = (row.tested is not None or row.placement == "-") and (values == values[0]).all()
    return mean if len(values) < 2 or one_fit else f"{mean} ± {scale * values.std(ddof=1):.{digits}f}"


def scaling(metric: str, percent: bool) -> tuple[int, int]:
    """By what a metric's values are multiplied, and the digits behind the point."""
    named = metrics.named(metric)
    return (100, max(named.digits - 2, 1)) if percent and named.fraction else (1, named.digits)


def grouped(table: list[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows by data set and task, in order; cells without a result go with the data set they name."""
    tasks = {row.data: row.task for row in table if row.values or row.published}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in table:
        task = row.task if row.values or row.published else tasks.get(row.data, row.task)
        groups.setdefault((row.data, task), []).append(row)
    return groups


def columns(group: list[Row]) -> list[str]:
    """The metrics shown for a group: those of its table that some row has."""
    return metrics.shown((m for row in group for m in (*row.values, *row.published)), group[0].table)
