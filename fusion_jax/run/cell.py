"""One cell, from its plan to its folder. Read this first: everything a study does happens here, in order.

1. find which seeds are still missing;
2. split, fit scalers, hide labels (`fusion_jax.training.prepare`);
3. train all missing seeds in one compiled program (`run.model`, `fusion_jax.training.loop`), in as many at a time as
   fit into memory (`run.memory`), or fit a control;
4. record predictions and metrics, write everything by atomic rename, the record last (`fusion_jax.results.store`).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from flax import nnx

from fusion_jax import metrics, tasks, zoo
from fusion_jax.data.base import Dataset
from fusion_jax.data.fingerprint import split_digest
from fusion_jax.plan import Plan
from fusion_jax.results import inputs
from fusion_jax.results.environment import environment, revision
from fusion_jax.results.recorded import history_table, metric_table, prediction_table
from fusion_jax.results.store import Store
from fusion_jax.run.control import fit_control
from fusion_jax.run.memory import in_parts
from fusion_jax.run.model import train_model
from fusion_jax.run.size import at_its_size
from fusion_jax.study import Cell
from fusion_jax.training.checkpoint import Partial
from fusion_jax.training.compilation import own_settings
from fusion_jax.training.divergence import all_diverged
from fusion_jax.training.node_seats import beside
from fusion_jax.training.prepare import Prepared, prepare, split_of

Progress = Callable[[list[dict[str, np.ndarray]]], None]  # the history so far, at the end of every chunk of epochs


@own_settings()
@zoo.held()
def run_cell(
    cell: Cell,
    store: Store,
    data: Dataset,
    progress: Progress | None = None,
    identity: str = "",
    only: Collection[int] | None = None,
    still: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Trains the missing seeds of a cell and stores them. Returns identity, seeds trained, seconds.

    A seed that diverges is kept as such: `diverged` of the part's cost.json has [seed, epoch, cause], no table but the
    history has a line of it, and it is not trained again.

    Args:
        identity: under which the cell stands in its study; what it has now if "".
        only: of the missing seeds those; all if None.
        still: called before anything is saved or stored; raises where the cell is another process's by now
            (`results.lock.holding`).
    Raises:
        ValueError: the cell has another identity by now; the plan does not fit the data set, or stored seeds were
            trained on another split than the data set draws now; whatever training raises. Nothing is stored then.
        FloatingPointError: every seed of the cell diverged; says at which epoch and why. Nothing is stored then.
        MemoryError: a seed by itself does not fit into memory; those before it that did are stored.
    """
    start = time.perf_counter()
    metrics.check(data.target)
    plan, wanted, identity = cell.plan, identity, cell.identity(data)
    if wanted not in ("", identity):
        raise ValueError(
            f"{cell.label}: the cell is {identity} now, expected {wanted} as its study lists it: the data or a file of "
            "one of its mechanisms has changed since; run the study again"
        )
    done = store.finished_seeds(identity)
    check_splits(plan, data, store, identity)
    seeds = tuple(s for s in missing(cell, store, identity) if only is None or s in only)
    if not seeds:
        return dict(identity=identity, seeds=(), seconds=0.0)
    if not plan.control.name:
        plan = at_its_size(plan, data)
    gone, held = set(store.diverged(identity)) == set(done), []

    def train(own: tuple[int, ...]) -> Part:
        return _trained(plan, data, own, _partial(plan, store, identity, own, _both(still, progress)))

    for own, part in in_parts(train, seeds, cell.label, "seed"):
        held.append((own, part))
        gone = gone and len(part.diverged) == len(own)
        while held and not gone:  # else the cell may have no result at all
            own, part = held.pop(0)
            if part.prepared is not None:
                part.cost["inputs"] = inputs.keep(store, data, part.prepared)
            still()
            store.write_part(identity, cell, own, part.tables, part.cost, part.saved)
            part.partial.clear()
    if held:
        for _, part in held:
            part.partial.clear()  # else the next attempt would go on from the diverged state
        raise FloatingPointError(all_diverged(cell.label, [line for _, part in held for line in part.diverged]))
    return dict(identity=identity, seeds=seeds, seconds=time.perf_counter() - start)


@dataclasses.dataclass(frozen=True)
class Part:
    """What one training of some seeds leaves, as `Store.write_part` takes it.

    Attributes:
        diverged: [seed, epoch, cause] of the seeds that have no result.
        partial: what was saved while it trained.
        prepared: what a model was trained on; None of a control.
    """

    tables: dict[str, Any]
    cost: dict[str, Any]
    saved: dict[str, Any]
    diverged: list[list]
    partial: Partial
    prepared: Prepared | None


def _trained(plan: Plan, data: Dataset, seeds: tuple[int, ...], partial: Partial) -> Part:
    """Some seeds trained together; nothing but saves on the way is stored."""
    start = time.perf_counter()
    with beside(plan.training.node_devices):
        prepared = prepare(plan.data, data, seeds, **plan.preparing)
    cost: dict[str, Any] = dict(parameters=0)
    tables, saved, uncertainty, diverged = {}, {}, None, {}
    if plan.control.name:
        prediction, used = fit_control(plan, data, prepared)
    else:
        used, trained = prepared, train_model(plan, data, prepared, partial)
        diverged = {seeds[i]: [seeds[i], *why] for i, why in trained.diverged.items()}
        prediction, uncertainty = trained.prediction, trained.uncertainty
        tables["history"] = history_table(trained.history, seeds)
        trained.cost["train_seconds"] += partial.before
        cost = dict(trained.cost, best_epoch=trained.best_epoch.tolist(), dim=plan.model.dim)
        saved["checkpoint"] = _plain(trained.params, trained.rest) | dict(inputs=inputs.fitted(prepared))
        if trained.snapshots:
            saved["snapshots"] = {str(epoch): _plain(*kept) for epoch, kept in trained.snapshots.items()}
    tables["predictions"] = prediction_table(prediction, data, used, uncertainty, leave_out=diverged)
    tables["metrics"] = metric_table(prediction, data, used, leave_out=diverged)
    cost |= dict(
        target=tasks.of(data.target).about(data.target),
        seconds=time.perf_counter() - start,
        seeds=len(seeds),
        split_rule=data.splits.rule,
        data=data.fingerprint,
        diverged=list(diverged.values()),
        earlier=partial.earlier,
        splits={str(s): split_digest(split) for s, split in zip(seeds, prepared.splits, strict=True)},
    )
    model = None if plan.control.name else prepared
    return Part(tables, cost, saved, cost["diverged"], partial, model)


def missing(cell: Cell, store: Store, identity: str) -> tuple[int, ...]:
    """The seeds of a cell that are wanted and not stored."""
    return tuple(sorted(set(range(cell.seeds)) - set(store.finished_seeds(identity))))


def check_splits(plan: Plan, data: Dataset, store: Store, identity: str) -> None:
    """Raises ValueError where the stored seeds of a cell were trained on another split than the data set draws now."""
    draw = dict(per_seed=plan.per_seed, protocol=plan.protocol)
    store.check_splits(identity, {seed: split_of(data, seed, **draw) for seed in store.finished_seeds(identity)})


def _partial(plan: Plan, store: Store, identity: str, seeds: tuple[int, ...], progress: Progress | None) -> Partial:
    """Where the state of the cell is saved while it trains; another revision of the code does not go on from it."""
    name = f".partial-{seeds[0]:04d}-{seeds[-1]:04d}-{(revision() or 'none')[:12]}"
    return Partial(store.cell(identity) / name, plan.training.checkpoint_seconds, progress, environment())


def _both(still: Callable[[], None], progress: Progress | None) -> Progress:
    """Asks whether the cell is still ours, then tells how far it is."""

    def at_border(history: list[dict[str, np.ndarray]]) -> None:
        still()
        if progress is not None:
            progress(history)

    return at_border


def _plain(params: Any, rest: Any) -> dict[str, Any]:
    """Parameters and statistics as plain dictionaries."""
    return dict(params=nnx.to_pure_dict(params), rest=nnx.to_pure_dict(rest))
