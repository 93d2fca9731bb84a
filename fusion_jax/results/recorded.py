"""What is recorded of a trained cell: its predictions, its history and its metrics, as tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from fusion_jax.data.base import Dataset
from fusion_jax.training import metrics
from fusion_jax.training.prepare import Prepared


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
    frames = []
    number = np.float64 if data.target.kind == "values" else np.float32  # float32 of a year has no seconds
    for i, (seed, split) in enumerate(zip(prepared.seeds, prepared.splits, strict=True)):
        part = np.full(len(prediction[i]), "unused", dtype=object)
        for name in ("train", "val", "test"):
            part[getattr(split, name)] = name
        columns = dict(seed=np.int32(seed), row=np.arange(len(part), dtype=np.int32), part=pd.Categorical(part))
        for field in ("labels", "time", "event"):
            if getattr(data.target, field) is not None:
                columns[field] = np.asarray(getattr(data.target, field))
        if data.target.values is not None:
            columns["values"] = list(np.asarray(data.target.values, number))
        columns["prediction"] = list(np.asarray(prediction[i], number))
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
        for part in () if seed in leave_out else ("train", "val", "test"):
            known = getattr(split, part)
            for metric, value in metrics.evaluate(prediction[i], data.target, known).items() if known.size else ():
                rows.append((seed, part, metric, value))
    return pd.DataFrame(rows, columns=["seed", "part", "metric", "value"]).astype({"seed": int, "value": float})


def history_table(history: Mapping[str, np.ndarray], seeds: tuple[int, ...]) -> pd.DataFrame:
    frames = [
        pd.DataFrame(dict(seed=seed, epoch=np.arange(h.shape[0]), **{k: v[i] for k, v in history.items()})).dropna(
            how="all", subset=list(history)
        )
        for i, seed in enumerate(seeds)
        for h in [next(iter(history.values()))[i]]
    ]
    return pd.concat(frames, ignore_index=True)
