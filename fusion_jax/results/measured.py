"""The metrics of a finished cell, computed from its stored predictions: a new metric reaches old results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fusion_jax import metrics, tasks
from fusion_jax.metrics.base import Scored
from fusion_jax.results.recorded import at
from fusion_jax.results.store import Store

UNSAID = ("classes", "values", "survival")  # tasks of results that do not say theirs, told by their metrics


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
    return {seed: found for seed, found, _ in _scored(store, identity, part)}


def _scored(store: Store, identity: str, part: str) -> Iterator[tuple[int, tuple[np.ndarray, Scored], int]]:
    """Of every seed what `scored` says of it, and how many training rows it has."""
    described = about(store, identity)
    for columns in store.columns(identity, "predictions"):
        target = tasks.restored({"num_outputs": columns["prediction"].shape[1], **described}, columns)
        unsure = columns.get("uncertainty", np.full(len(columns["seed"]), np.nan))
        wanted, trained = columns["part"] == part, columns["part"] == "train"
        for seed in np.unique(columns["seed"]):
            own = columns["seed"] == seed
            mine = np.flatnonzero(own & wanted)
            stated = None if np.isnan(unsure[mine]).any() else unsure[mine]
            rows = Scored(at(target, mine), columns["prediction"][mine], stated)
            yield int(seed), (columns["row"][mine], rows), int((own & trained).sum())


@dataclasses.dataclass(frozen=True)
class Measured:
    """The metrics of one part of a cell's rows.

    Attributes:
        values: {metric: float [S]}.
        rows, scored: of every seed, see `scored`; () where no predictions are stored.
        trained: how many training rows every seed has; () likewise.
    """

    values: dict[str, np.ndarray]
    rows: tuple[np.ndarray, ...] = ()
    scored: tuple[Scored, ...] = ()
    trained: tuple[int, ...] = ()


def measured(store: Store, identity: str, part: str, seeds: Sequence[int]) -> Measured:
    """The metrics of these seeds, from their stored predictions; as they were recorded where there are none.

    So a metric that is new reaches results that are old. Raises as `scored`.
    """
    if store.has(identity, "predictions.parquet"):
        found = {seed: (*held, trained) for seed, held, trained in _scored(store, identity, part)}
        rows, each, trained = zip(*(found[seed] for seed in seeds), strict=True)
        return Measured(metrics.scores(each), rows, each, trained)
    table = store.table(identity, "metrics")
    table = table[(table.part == part) & table.seed.isin(seeds)].sort_values("seed", kind="stable")
    return Measured({m: own.value.to_numpy(float) for m, own in table.groupby("metric", sort=False)})


def validation(store: Store, identity: str, seeds: Sequence[int]) -> dict[int, tuple[float, float]]:
    """{seed: what ranks it by validation rows, larger is better}: the primary metric, and the one that breaks ties.

    Under protocol `paper` they are the test rows, as which they are stored.
    """
    described, stored = about(store, identity), store.has(identity, "predictions.parquet")
    as_test = stored and any(len(rows) == 0 for rows, _ in scored(store, identity, "val").values())
    values = measured(store, identity, "test" if as_test else "val", seeds).values
    first, tie = tasks.primary(described), tasks.of(described["kind"]).tie
    ties = metrics.sign(tie) * values[tie] if tie in values else np.zeros(len(seeds))
    return dict(zip(seeds, zip(metrics.sign(first) * values[first], ties, strict=True), strict=True))


def primary_values(store: Store, identity: str) -> tuple[str, np.ndarray]:
    """The metric that ranks, and its recorded values [S] on the test rows of a finished cell."""
    metric, table = tasks.primary(about(store, identity)), store.table(identity, "metrics")
    return metric, table[(table.part == "test") & (table.metric == metric)].value.to_numpy()
