"""What is recorded of a trained cell: its predictions, its metrics and its history, as tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import jax
import numpy as np
import pandas as pd

from fusion_jax import metrics, tasks
from fusion_jax.data.base import Dataset
from fusion_jax.metrics.base import Scored
from fusion_jax.records import Target
from fusion_jax.training.prepare import Prepared

PARTS = ("train", "val", "test")


def prediction_table(
    prediction: np.ndarray,
    data: Dataset,
    prepared: Prepared,
    uncertainty: np.ndarray | None = None,
    *,
    leave_out: Collection[int] = (),
) -> pd.DataFrame:
    """One line a seed and row: which part it was in, its target, what was predicted (a list), how unsure it is.

    Where nodes have ids a column `id` has them, where some have no target a column `labelled` says which: the target
    of a row that is not labelled stands for nothing.

    Args:
        leave_out: seeds without a result, which get no lines.
    """
    frames, task = [], tasks.of(data.target)
    for i, (seed, split) in enumerate(zip(prepared.seeds, prepared.splits, strict=True)):
        part = np.full(len(prediction[i]), "unused", dtype=object)
        for name in PARTS:
            part[getattr(split, name)] = name
        columns = dict(seed=np.int32(seed), row=np.arange(len(part), dtype=np.int32), part=pd.Categorical(part))
        if data.target.level == "node" and data.ids is not None:
            columns["id"] = data.ids
        if data.labelled is not None:
            columns["labelled"] = data.labelled
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
