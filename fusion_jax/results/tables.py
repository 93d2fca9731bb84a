"""The table of a study: a row a variant x placement, with means, spreads, sizes and seconds.

Rows are queried from the Parquet files of the store (DuckDB); nothing is trained again.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from scipy import stats

from fusion_jax import zoo
from fusion_jax.results.store import Store

PRIMARY = {"classes": "accuracy", "values": "rmse", "survival": "c_index"}
SHOWN = {
    "classes": ("accuracy", "macro_f1", "weighted_f1", "auc"),
    "values": ("rmse", "mae", "r2"),
    "survival": ("c_index", "auc"),
    "calibration": ("ece", "brier", "log_loss", "aurc", "aurc_uncertainty"),
}
LOWER_IS_BETTER = ("rmse", "mae", "log_loss", "ece", "brier", "aurc", "aurc_uncertainty")
DIGITS = {"aurc": 4, "aurc_uncertainty": 4}  # areas are far below the error rate; 3 for all else
UNFINISHED = "not finished"
PUBLISHED = "published"  # stands for the protocol of rows that others have published
SINGLE = "best single modality (by validation)"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        label, placement, layer, data, protocol, setting: what the row is.
        values: {metric: float [S]} on test rows.
        parameters, seconds: of one seed; None where they mean nothing.
        error: the message of a failed cell, `UNFINISHED` where seeds are missing, "" otherwise.
        published: {metric: (mean, standard deviation or None)} of a row that others have published, which takes no
            part in comparisons; source: what to cite for it.
        cell, seeds: identity and seeds of the row's cell; "" and () of a row that is not one cell's.
    """

    label: str
    placement: str
    data: str
    protocol: str
    setting: str
    values: dict[str, np.ndarray]
    parameters: int | None
    seconds: float | None
    error: str = ""
    task: str = "classes"
    published: dict[str, tuple[float, float | None]] = dataclasses.field(default_factory=dict)
    source: str = ""
    cell: str = ""
    seeds: tuple[int, ...] = ()


def rows(store: Store) -> list[Row]:
    """The rows of a study in the order of its sweep, failed cells among them, derived rows after their sources.

    Raises:
        FileNotFoundError: the folder holds no study.
    """
    found, singles = [], {}
    written = store.read_study()
    names = _data_names(written["cells"])
    for entry in written["cells"]:
        row, metrics = _row(store, entry, names)
        found.append(row)
        if metrics is not None and _is_single(entry["config"]):
            singles.setdefault((row.data, row.placement, row.protocol, row.setting), []).append((row, metrics))
    for group in singles.values():
        if len(group) > 1:
            last = max(i for i, r in enumerate(found) if any(r is g for g, _ in group))
            found.insert(last + 1, _best_single(group))
    return found + [_published(entry) for entry in written.get("published", ())]


def _published(entry: dict[str, Any]) -> Row:
    """A row without seeds, whose protocol says what it is."""
    values = {m: (float(mean), None if sd is None else float(sd)) for m, (mean, sd) in entry["values"].items()}
    task = next(t for t, m in PRIMARY.items() if m in values)
    return Row(entry["label"], "-", entry["data"], PUBLISHED, "", {}, None, None, task=task, published=values,
               source=entry["source"])  # fmt: skip


def _is_single(config: dict[str, Any]) -> bool:
    modalities = config["data"]["modalities"]
    return len(modalities) == 1 and modalities[0] != "structure" and not config["control"]["name"]


def _row(store: Store, entry: dict[str, Any], names: dict[str, str]) -> tuple[Row, pd.DataFrame | None]:
    identity = entry["id"]
    seeds = [s for s in store.finished_seeds(identity) if s < entry["seeds"]]
    failure = store.failure(identity)
    config = entry["config"]
    control = bool(config["control"]["name"])
    about = dict(
        label=entry["label"],
        placement="-" if control else config["model"]["placement"],
        data=names[_variant(config["data"])],
        protocol=config["protocol"],
        setting=config["data"]["setting"] or "default",
    )
    if not control and not _has_edges(config["model"]):
        about["placement"] += " (no graph)"
    if len(seeds) < entry["seeds"]:
        error = failure["error"] if failure else UNFINISHED
        if not seeds:
            return Row(**about, values={}, parameters=None, seconds=None, error=error), None
        about["label"] += f" ({len(seeds)} of {entry['seeds']} seeds: {error.partition(chr(10))[0]})"
    metrics = store.table(identity, "metrics")
    metrics = metrics[metrics.seed.isin(seeds)]
    test = duckdb.query(  # DuckDB takes NaN of pandas for NULL, and a NULL would come back as 0
        "select metric, list(coalesce(value, 'nan'::double) order by seed) as value "
        "from metrics where part = 'test' group by metric"
    ).df()
    costs = store.costs(identity)
    total, count = sum(c.get("train_seconds", c["seconds"]) for c in costs), sum(c["seeds"] for c in costs)
    values = {m: np.asarray(v, float) for m, v in zip(test.metric, test.value, strict=True)}
    task = next(t for t, m in PRIMARY.items() if m in values)
    parameters = costs[0]["parameters"] or None
    row = Row(**about, values=values, parameters=parameters, seconds=total / count, task=task,
              cell=identity, seeds=tuple(seeds))  # fmt: skip
    return row, metrics


def _variant(part: dict[str, Any]) -> str:
    """What makes two cells' data different problems: rows that differ in this are not compared."""
    return json.dumps([part["name"], part["options"], part["setting"]], sort_keys=True)


def _data_names(cells: list[dict[str, Any]]) -> dict[str, str]:
    """{variant: its name}: the data set's own, with options and setting where the study has several variants of it."""
    parts = {_variant(c["config"]["data"]): c["config"]["data"] for c in cells}
    named = {}
    for variant, part in parts.items():
        given = [f"{k}={v}" for k, v in sorted(part["options"].items())] + [part["setting"] or "default setting"]
        alone = sum(other["name"] == part["name"] for other in parts.values()) == 1
        named[variant] = part["name"] if alone else f"{part['name']} ({', '.join(given)})"
    return named


def _has_edges(model: dict[str, Any]) -> bool:
    """Whether a model looks at edges: through its graph layers, its encoders or its fusion."""
    layers = model["layers"] > 0 and model["layer"]["name"] != "none"
    return layers or any("graph" in zoo.get(kind, model[kind]["name"]).info.needs for kind in ("encoder", "fusion"))


def _best_single(group: list[tuple[Row, pd.DataFrame]]) -> Row:
    """For every seed the single modality with the best validation score (ties: the lower validation log-loss)."""
    first, _ = group[0]
    primary = PRIMARY[first.task]
    sign = -1 if primary in LOWER_IS_BETTER else 1
    by_seed = []
    for _, table in group:
        by_seed.append(table.pivot(index="seed", columns=["part", "metric"], values="value"))
    seeds = sorted(set.intersection(*(set(t.index) for t in by_seed)))
    values: dict[str, list[float]] = {m: [] for m in first.values}
    for seed in seeds:

        def rank(t, seed=seed):
            tie = t.loc[seed, ("val", "log_loss")] if ("val", "log_loss") in t.columns else 0.0
            return sign * t.loc[seed, ("val", primary)], -tie

        chosen = max(by_seed, key=rank)
        for metric in values:
            values[metric].append(chosen.loc[seed, ("test", metric)])
    seconds = sum(r.seconds for r, _ in group)
    return dataclasses.replace(
        first, label=SINGLE, values={m: np.array(v) for m, v in values.items()}, seconds=seconds, cell="", seeds=()
    )


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Student t interval of the mean over seeds; the mean itself twice where there is one seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, mean
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return mean - half, mean + half


def best(table: list[Row], metric: str, protocol: str) -> tuple[int | None, bool]:
    """Index of the protocol's row with the best mean, and whether the runner-up's 95 % interval overlaps its own.

    Of one seed nothing is known of the spread: such an interval overlaps every other.
    """
    sign = -1 if metric in LOWER_IS_BETTER else 1
    means = [(sign * np.mean(r.values[metric]), -i) for i, r in enumerate(table)
             if r.protocol == protocol and metric in r.values and np.isfinite(r.values[metric]).all()]  # fmt: skip
    if not means:
        return None, False
    means.sort(reverse=True)  # of equal means the first row's
    top = -means[0][1]
    if len(means) < 2:
        return top, False
    if min(len(table[i].values[metric]) for i in (top, -means[1][1])) < 2:
        return top, True
    (low, high), (other_low, other_high) = (interval(table[i].values[metric]) for i in (top, -means[1][1]))
    return top, bool(low <= other_high and other_low <= high)


def cell_text(row: Row, metric: str) -> str:
    """"mean ± sample standard deviation", the mean alone for one seed, a dash where there is nothing."""
    digits = DIGITS.get(metric, 3)
    if metric in row.published:
        mean, sd = row.published[metric]
        return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"
    values = row.values.get(metric)
    if values is None or not np.isfinite(values).all():
        return "-"
    if len(values) < 2:
        return f"{values.mean():.{digits}f}"
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def grouped(table: list[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows by data set and task, in order; cells without a result go with the data set they name."""
    tasks = {row.data: row.task for row in table if row.values or row.published}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in table:
        task = row.task if row.values or row.published else tasks.get(row.data, row.task)
        groups.setdefault((row.data, task), []).append(row)
    return groups


def columns(group: list[Row]) -> list[str]:
    """The metrics shown for a group: those of its task that some row has; F1 of class 1 where there are two."""
    task = next((r.task for r in group if r.values or r.published), group[0].task)
    shown = [m for m in SHOWN[task] if any(m in r.values or m in r.published for r in group)]
    if any("f1" in r.values or "f1" in r.published for r in group):
        shown.insert(1, "f1")
    return shown
