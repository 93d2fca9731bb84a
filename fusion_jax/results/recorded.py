"""What is recorded of a trained cell, its predictions, its history and its metrics, as tables; and read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd

from fusion_jax import metrics, tasks
from fusion_jax.data.base import Dataset
from fusion_jax.metrics.base import Scored
from fusion_jax.records import Target
from fusion_jax.results.store import Store
from fusion_jax.training.prepare import Prepared

PARTS = ("train", "val", "test")
UNSAID = ("classes", "values", "survival")  # tasks of results that do not say theirs, told by their metrics


def prediction_table(
    prediction: np.ndarray,
    data: Dataset,
    prepared: Prepared,
    uncertainty: np.ndarray | None = None,
    *,
    leave_out: Collection[int] = (),
) -> pd.DataFrame:
    """One line a seed and row: which part it was in, its target, what was predicted (a list), how unsure it is.

    Args:
        leave_out: seeds without a result, which get no lines.
    """
    frames, task = [], tasks.of(data.target)
    for i, (seed, split) in enumerate(zip(prepared.seeds, prepared.splits, strict=True)):
        part = np.full(len(prediction[i]), "unused", dtype=object)
        for name in PARTS:
            part[getattr(split, name)] = name
        columns = dict(seed=np.int32(seed), row=np.arange(len(part), dtype=np.int32), part=pd.Categorical(part))
        columns |= task.columns(data.target)
        columns["prediction"] = list(np.asarray(prediction[i], task.dtype))
        if uncertainty is not None:
            columns["uncertainty"] = np.asarray(uncertainty[i], np.float32)
        frames.append(pd.DataFrame(columns))
    table = pd.concat(frames, ignore_index=True)
    return table[~table.seed.isin(list(leave_out))].reset_index(drop=True)


def metric_table(
    prediction: np.ndarray, data: Dataset, prepared: Prepared, *, leave_out: Collection[int] = ()
) -> pd.DataFrame:
    """seed, part, metric, value for the training, validation and test rows; none of a part without rows.

    Args:
        leave_out: seeds without a result, which get no lines.
    """
    rows = []
    for i, (seed, split) in enumerate(zip(prepared.seeds, prepared.splits, strict=True)):
        for part in () if seed in leave_out else PARTS:
            known = getattr(split, part)
            found = scores(prediction[i], data.target, known) if known.size else {}
            rows += [(seed, part, metric, value) for metric, value in found.items()]
    return pd.DataFrame(rows, columns=["seed", "part", "metric", "value"]).astype({"seed": int, "value": float})


def scores(prediction: np.ndarray, target: Target, rows: np.ndarray) -> dict[str, float]:
    """The metrics of one prediction [N, C] on the given rows."""
    found = metrics.scores([Scored(at(target, rows), prediction[rows])])
    return {metric: float(value) for metric, (value,) in found.items()}


def at(target: Target, rows: np.ndarray) -> Target:
    """The given rows of a target, as NumPy arrays."""
    return jax.tree.map(lambda a: np.asarray(a)[rows], target)


def history_table(history: Mapping[str, np.ndarray], seeds: tuple[int, ...]) -> pd.DataFrame:
    frames = [
        pd.DataFrame(dict(seed=seed, epoch=np.arange(h.shape[0]), **{k: v[i] for k, v in history.items()})).dropna(
            how="all", subset=list(history)
        )
        for i, seed in enumerate(seeds)
        for h in [next(iter(history.values()))[i]]
    ]
    return pd.concat(frames, ignore_index=True)


def about(store: Store, identity: str) -> dict[str, Any]:
    """What a cell predicts (`Task.about`); of results that do not say it, told by the metrics they hold.

    Raises:
        Damaged: a file of the cell is not what was written.
        ValueError: it does not say, and holds no metric that would tell.
    """
    if said := next((cost["target"] for cost in store.costs(identity) if "target" in cost), None):
        return said
    held = set(store.table(identity, "metrics").metric)
    for kind in UNSAID:
        if tasks.of(kind).primary in held:
            return dict(kind=kind, level="node")
    raise ValueError(f"cell {identity}: none of its metrics ({', '.join(sorted(held))}) tells what it predicts")


def scored(store: Store, identity: str, part: str) -> dict[int, tuple[np.ndarray, Scored]]:
    """{seed: row numbers, and what was predicted of them} of the rows of a part, from a cell's stored predictions.

    Raises:
        Damaged: a file of the cell is not what was written.
    """
    described, found = about(store, identity), {}
    for columns in store.columns(identity, "predictions"):
        target = tasks.restored({"num_outputs": columns["prediction"].shape[1], **described}, columns)
        unsure = columns.get("uncertainty", np.full(len(columns["seed"]), np.nan))
        for seed in np.unique(columns["seed"]):
            mine = np.flatnonzero((columns["seed"] == seed) & (columns["part"] == part))
            stated = None if np.isnan(unsure[mine]).any() else unsure[mine]
            found[int(seed)] = columns["row"][mine], Scored(at(target, mine), columns["prediction"][mine], stated)
    return found


@dataclasses.dataclass(frozen=True)
class Measured:
    """The metrics of one part of a cell's rows.

    Attributes:
        values: {metric: float [S]}.
        rows, scored: of every seed, see `scored`; () where no predictions are stored.
    """

    values: dict[str, np.ndarray]
    rows: tuple[np.ndarray, ...] = ()
    scored: tuple[Scored, ...] = ()


def measured(store: Store, identity: str, part: str, seeds: Sequence[int]) -> Measured:
    """The metrics of these seeds, from their stored predictions; as they were recorded where there are none.

    So a metric that is new reaches results that are old. Raises as `scored`.
    """
    if store.has(identity, "predictions.parquet"):
        found = scored(store, identity, part)
        rows, each = zip(*(found[seed] for seed in seeds), strict=True)
        return Measured(metrics.scores(each), rows, each)
    table = store.table(identity, "metrics")
    table = table[(table.part == part) & table.seed.isin(seeds)].sort_values("seed", kind="stable")
    return Measured({m: own.value.to_numpy(float) for m, own in table.groupby("metric", sort=False)})


def validation(store: Store, identity: str, seeds: Sequence[int]) -> dict[int, tuple[float, float]]:
    """{seed: what ranks it by validation rows, larger is better}: the primary metric, and the one that breaks ties."""
    described, values = about(store, identity), measured(store, identity, "val", seeds).values
    first, tie = tasks.primary(described), tasks.of(described["kind"]).tie
    ties = metrics.sign(tie) * values[tie] if tie in values else np.zeros(len(seeds))
    return dict(zip(seeds, zip(metrics.sign(first) * values[first], ties, strict=True), strict=True))


def primary_values(store: Store, identity: str) -> tuple[str, np.ndarray]:
    """The metric that ranks, and its recorded values [S] on the test rows of a finished cell."""
    metric, table = tasks.primary(about(store, identity)), store.table(identity, "metrics")
    return metric, table[(table.part == "test") & (table.metric == metric)].value.to_numpy()
