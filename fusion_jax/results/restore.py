"""Brings a finished cell back from its store: config, data, batch and every seed's model, without training.

    cell = restore(Store("results/quickstart"), "3f0c")  # how its identity starts
    cell.models[0](cell.batch(0)).prediction

What training saw is prepared again from the config (splits, scalers and hidden labels depend on nothing else),
the parameters are the stored ones.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from flax import nnx

from fusion_jax import metrics, study, tasks, zoo
from fusion_jax.data import Dataset, Split
from fusion_jax.data import load as load_data
from fusion_jax.model import Model
from fusion_jax.plan import Plan
from fusion_jax.records import EVALUATION, Batch, Context, Output
from fusion_jax.results import inputs
from fusion_jax.results.store import Store
from fusion_jax.training import checkpoint
from fusion_jax.training.build import build_model, build_scheme
from fusion_jax.training.compilation import own_settings
from fusion_jax.training.derived import structures_of, with_structures
from fusion_jax.training.prepare import Prepared, prepare
from fusion_jax.training.trial import Trial, known_to_model, scaled, whole
from fusion_jax.zoo import nearest


@dataclasses.dataclass(frozen=True)
class Restored:
    """A finished cell.

    Attributes:
        identity: its folder's name.
        plan: as it was trained, with the width that `size` chose.
        label: the row's name.
        data: the data set, checked to be the one the cell was trained on.
        prepared: splits, trials and batch of all stored seeds, without those that diverged.
        models: one a seed, with the parameters and statistics of its best epoch. Of a regression target they return
            standardised values (`prepared.units`); `prediction` is in its own units.
        metrics: the stored table: seed, part, metric, value.
        store: where it lies.
    """

    identity: str
    plan: Plan
    label: str
    data: Dataset
    prepared: Prepared
    models: tuple[Model, ...]
    metrics: pd.DataFrame
    store: Store

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.prepared.seeds

    @property
    def primary(self) -> str:
        """The metric that ranks models of this task."""
        task = tasks.of(self.data.target)
        return task.primary_of(task.about(self.data.target))

    def place(self, seed: int | None = None) -> int:
        """Where a stored seed stands; the one with the best validation score if None.

        Raises:
            ValueError: the cell has no such seed.
        """
        if seed is None:
            return max(range(len(self.seeds)), key=self.validation_score)
        if seed not in self.seeds:
            raise ValueError(
                f"cell {self.identity} has no seed {seed}{nearest(str(seed), map(str, self.seeds))}; "
                f"finished: {', '.join(map(str, self.seeds))}"
            )
        return self.seeds.index(seed)

    def trial(self, i: int) -> Trial:
        """What the i-th stored seed had of its own."""
        return jax.tree.map(lambda a: a[i], self.prepared.trials)

    def seen(self, i: int) -> Batch:
        """What the i-th seed's model saw in training: in the inductive setting without the test nodes."""
        return scaled(self.prepared.batch, self.trial(i))

    def batch(self, i: int) -> Batch:
        """The whole batch under the i-th seed's scaler: what its predictions were made from."""
        plain = dataclasses.replace(self.trial(i), graph=None, mask=None, evaluated=None)
        return whole(self.prepared.batch, plain).with_graph(self.prepared.evaluated[i])

    def context(self, i: int) -> Context:
        """What the i-th seed's model knows in evaluation: the labels of its training rows, where it asks for them."""
        return known_to_model(jax.tree.map(lambda a: a[i], self.prepared.target), self.trial(i).train_weight)

    def prediction(self, i: int) -> np.ndarray:
        """[N, C], what the i-th seed's model predicts for every row; values in the target's own units, float64."""
        return self.prepared.own_units(predict(self.models[i], self.batch(i), self.context(i)), i)

    def output(self, i: int) -> Output:
        """All that the i-th seed's model says in evaluation: attention, tokens, hidden states, prediction, ..."""
        return evaluated(self.models[i], self.batch(i), self.context(i))

    def best_epoch(self, i: int) -> int:
        """The epoch whose parameters the i-th seed's model has, from 0 on."""
        for (_, seeds), cost in zip(self.store.parts(self.identity), self.store.costs(self.identity), strict=True):
            if self.seeds[i] in seeds:
                return int(cost["best_epoch"][list(seeds).index(self.seeds[i])])
        raise ValueError(f"cell {self.identity} has no seed {self.seeds[i]}")

    def validation_score(self, i: int) -> tuple[float, float]:
        """Larger is better: the primary metric on validation rows, ties broken by the task's other (log-loss)."""
        table = self.metrics[(self.metrics.seed == self.seeds[i]) & (self.metrics.part == "val")]
        value = table.set_index("metric").value
        tie = tasks.of(self.data.target).tie
        other = metrics.sign(tie) * float(value[tie]) if tie in value else 0.0
        return metrics.sign(self.primary) * float(value[self.primary]), other


@own_settings()
def predict(model: Model, batch: Batch, context: Context = EVALUATION) -> np.ndarray:
    """float32 [N, C], what one model returns in evaluation."""
    return predict_unsure(model, batch, context)[0]


@own_settings()
def predict_unsure(model: Model, batch: Batch, context: Context = EVALUATION) -> tuple[np.ndarray, np.ndarray | None]:
    """What one model returns in evaluation: float32 [N, C], and how unsure it is, [N], where it says so."""
    prediction, uncertainty = _forward(*nnx.split(model), batch, context)
    return np.asarray(prediction, np.float32), None if uncertainty is None else np.asarray(uncertainty, np.float32)


@own_settings()
def evaluated(model: Model, batch: Batch, context: Context = EVALUATION) -> Output:
    """All that one model returns in evaluation, as one compiled program: layer by layer it takes many times as long."""
    return _evaluated(*nnx.split(model), batch, context)


@functools.partial(jax.jit, static_argnums=0)
def _evaluated(graphdef: Any, state: Any, batch: Batch, context: Context) -> Output:
    return nnx.merge(graphdef, state)(batch, context=context)


@functools.partial(jax.jit, static_argnums=0)  # one program for all seeds
def _forward(graphdef: Any, state: Any, batch: Batch, context: Context):
    output = nnx.merge(graphdef, state)(batch, context=context)
    return output.prediction, output.uncertainty


def only_cell(store: Store) -> str:
    """The identity of the store's one finished cell.

    Raises:
        ValueError: there is none, or several; lists them.
    """
    found = finished(store)
    if len(found) != 1:
        raise ValueError(
            f"{os.fspath(store.root)!r} holds {len(found)} finished cells, name one with --cell=ID"
            + _listed(store, found)
        )
    return next(iter(found))


def whole_identity(store: Store, start: str) -> str:
    """The identity of the finished cell that has it, or whose identity alone starts so.

    Raises:
        ValueError: there is none, or several; lists them.
    """
    if start and store.finished_seeds(start):
        return start  # it need not stand in the study, and there may be none: cells are run by themselves too
    known = finished(store)
    found = [identity for identity in known if start and identity.startswith(start)]
    if len(found) == 1:
        return found[0]
    if found:
        what = f"holds {len(found)} finished cells whose identity starts with {start!r}, expected one"
    else:
        what, found = f"has no finished cell {start!r}{nearest(start, known)}; finished", list(known)
    raise ValueError(f"{os.fspath(store.root)!r} {what}:{_listed(store, found) or ' none'}")


def _listed(store: Store, identities: Iterable[str]) -> str:
    """A line a cell of the study: its identity, label, placement and data set."""
    lines = []
    for entry in store.read_study()["cells"]:
        if entry["id"] in identities:
            part, control = entry["config"]["data"]["name"], entry["config"]["control"]["name"]
            placement = "-" if control else entry["config"]["model"]["placement"]
            lines.append(f"\n  {entry['id']}  {entry['label']}, {placement}, {study.short(part)}")
    return ";".join(lines)


def finished(store: Store) -> dict[str, str]:
    """{identity: label} of the cells with at least one finished seed, in the order of the study."""
    found = {}
    for entry in store.read_study()["cells"]:
        if store.finished_seeds(entry["id"]):
            found[entry["id"]] = entry["label"]
    return found


@own_settings()
def restore(
    store: Store,
    identity: str | None = None,
    *,
    data: Dataset | None = None,
    splits: Mapping[int, Split] | None = None,
) -> Restored:
    """The cell of that identity, or the store's only one.

    Args:
        identity: as many of its first characters as no other finished cell's starts with.
        data: the data set, if it is loaded already.
        splits: {seed: its split as selection uses it}, where the data set does not draw them.
    Raises:
        FileNotFoundError: the store holds no study.
        ValueError: no such cell, it is not finished, it has no parameters (a control), it is of another schema, the
            data set is not the one it was trained on or draws other splits, or the checkpoint's parameters are not the
            model's (lists which).
    """
    identity = only_cell(store) if identity is None else whole_identity(store, identity)
    stored = study.Cell(store.config(identity), "", 0)
    if control := stored.plan.control.name:
        raise ValueError(f"cell {identity} is the control {control!r}: it has no parameters")
    record = store.record(identity)
    if (schema := record.get("schema", 1)) != study.SCHEMA:
        raise ValueError(
            f"cell {identity} was stored under schema {schema}, this revision restores schema {study.SCHEMA}: what its "
            f"model was trained on can't be made again, train it anew"
        )
    data, kept = data_of(store, identity, stored, data)
    splits = kept if splits is None else splits
    try:
        found = study.resolve(stored.config).plan  # options that mechanisms have gained since
    except ValueError as error:
        raise ValueError(f"cell {identity} was trained by another version of the code: {error}") from error
    width = store.costs(identity)[0]["dim"]
    found = dataclasses.replace(found, model=dataclasses.replace(found.model, dim=width))
    diverged = store.diverged(identity)
    seeds = tuple(s for s in store.finished_seeds(identity) if s not in diverged)
    known = None if splits is None else [splits[seed] for seed in seeds]
    prepared = prepare(found.data, data, seeds, splits=known, **found.preparing)
    store.check_splits(identity, dict(zip(seeds, prepared.splits, strict=True)))
    dims = {name: x.shape[1] for name, x in prepared.batch.features.items()}
    template = build_model(found.model, build_scheme(found.scheme), dims, data.target, jax.random.key(0))
    prepared = with_structures(prepared, *structures_of(template))
    models = {}
    for part, part_seeds in store.parts(identity):
        saved = checkpoint.restore(part / "checkpoint")
        for i, seed in enumerate(part_seeds):
            models[seed] = fill(template, jax.tree.map(lambda a, i=i: a[i], saved), f"{identity}, seed {seed}")
    return Restored(
        identity,
        found,
        record["label"],
        data,
        prepared,
        tuple(models[s] for s in seeds),
        store.table(identity, "metrics"),
        store,
    )


def data_of(
    store: Store, identity: str, stored: study.Cell, data: Dataset | None = None
) -> tuple[Dataset, Mapping[int, Split] | None]:
    """The data set that a finished cell was trained on; of one that lay in memory also the seeds' splits, else None.

    Args:
        data: the data set, if it is loaded already.
    Raises:
        ValueError: it is not the one the cell was trained on, or lay in memory and was too large to be kept.
    """
    splits = None
    if data is None and stored.plan.data.name.startswith(zoo.MEMORY):
        data, splits = _kept(store, identity, stored)
    elif data is None:
        data = load_data(stored.plan.data.name, **stored.plan.data.options)
    if stored.identity(data) != identity:
        raise ValueError(
            f"cell {identity} was trained on other data than data set {data.name!r} holds now (fingerprint "
            f"{data.fingerprint[:16]}...): its features, mask, edges, targets or splits are others, or its default "
            f"edge set or setting is (or a mechanism of it computes other numbers since: its version is another)"
        )
    return data, splits


def _kept(store: Store, identity: str, stored: study.Cell) -> tuple[Dataset, Mapping[int, Split]]:
    """The data set that lay in memory when the cell was trained, as the folder holds it, and its splits.

    Raises:
        ValueError: it was too large to be kept.
    """
    held = inputs.of_part(store, identity)
    if held is None or (data := inputs.data_of(store, held)) is None:
        name = zoo.short(stored.plan.data.name)
        raise ValueError(f"cell {identity}: data set {name!r} lay in memory and is not kept here: hand it over (data=)")
    return data, inputs.splits_of(store, identity, stored.plan.protocol)


def snapshots(store: Store, cell: Restored) -> dict[int, tuple[Model, ...]]:
    """{epoch: a model a seed} along a cell's training: after so many epochs, 0 before the first.

    Raises:
        ValueError: none were kept (`training.snapshots`, or a scheme's).
    """
    found: dict[int, dict[int, Model]] = {}
    for part, seeds in store.parts(cell.identity):
        if not (part / "snapshots").exists():
            raise ValueError(f"cell {cell.identity} has no snapshots: train it with training.snapshots=N")
        for epoch, saved in checkpoint.restore(part / "snapshots").items():
            for i, seed in enumerate(seeds):
                own = jax.tree.map(lambda a, i=i: a[i], saved)
                name = f"{cell.identity}, seed {seed}, epoch {epoch}"
                found.setdefault(int(epoch), {})[seed] = fill(cell.models[0], own, name)
    return {epoch: tuple(found[epoch][seed] for seed in cell.seeds) for epoch in sorted(found)}


def fill(template: Model, saved: Mapping[str, Any], name: str) -> Model:
    """A copy of `template` with the values of a checkpoint {"params": ..., "rest": ...} of one seed.

    Raises:
        ValueError: parameters are missing, unexpected or of another shape; lists them.
    """
    graphdef, state = nnx.split(template)
    # Orbax gives back the numbers of list entries as strings: paths are compared as text.
    own = {"/".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(state)}
    found = {}
    for tree in (saved.get("params"), saved.get("rest")):
        leaves = jax.tree_util.tree_leaves_with_path(tree or {})
        found |= {"/".join(str(p.key) for p in path): leaf for path, leaf in leaves}
    missing, unexpected = sorted(set(own) - set(found)), sorted(set(found) - set(own))
    shapes = {
        k: f"{k} {np.shape(found[k])} instead of {own[k].shape}"
        for k in sorted(set(own) & set(found))
        if np.shape(found[k]) != own[k].shape
    }
    if missing or unexpected or shapes:
        raise ValueError(
            f"the checkpoint of cell {name} does not fit its model: missing parameters {missing}, "
            f"unexpected parameters {unexpected}, other shapes {list(shapes.values())}"
        )
    flat = [(p, v.replace(jnp.asarray(found["/".join(map(str, p))], v.dtype))) for p, v in nnx.to_flat_state(state)]
    return nnx.merge(graphdef, nnx.from_flat_state(flat))
