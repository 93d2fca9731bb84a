"""One cell, from its config to its folder. Read this first: everything a study does happens here, in order.

    python -m experiments.train --config=configs/base.py --workdir=results/one [--config.model.dim=32 ...]

1. load the data set (validated) and find which seeds are still missing;
2. split, fit scalers, hide labels (`fusion_jax.training.prepare`);
3. train all missing seeds in one compiled program (`fusion_jax.training.loop`), or fit a control;
4. compute metrics, write everything by atomic rename, the record last (`fusion_jax.results.store`).
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np
import pandas as pd
from absl import flags
from flax import nnx

from experiments import arguments
from fusion_jax import study, zoo
from fusion_jax.data import Dataset
from fusion_jax.data import load as load_data
from fusion_jax.data.base import Split
from fusion_jax.data.fingerprint import split_digest
from fusion_jax.model import Model
from fusion_jax.results.environment import revision
from fusion_jax.results.lock import exclusive
from fusion_jax.results.store import Store
from fusion_jax.schemes.base import Stage
from fusion_jax.study import defaults
from fusion_jax.training import loop, metrics, optimizers
from fusion_jax.training.build import build_loss, build_model, build_penalty, build_scheme, model_builder
from fusion_jax.training.checkpoint import Partial
from fusion_jax.training.compilation import check_platform, own_settings, use_cache
from fusion_jax.training.prepare import Prepared, prepare, split_of
from fusion_jax.training.step import scaled


def train_model(
    config: Mapping[str, Any],
    data: Dataset,
    ready: Prepared,
    partial: Partial | None,
    build: Callable[[jax.Array], Model] | None = None,
) -> loop.Trained:
    """Trains the prepared seeds of a model cell, from `build(key)` where it is given, else from initial values.

    A regression target is learned in standardised units (`Prepared.units`): so are the losses of the history and what
    the models return. The predictions that come back are in the target's own.
    """
    feature_dims = {name: x.shape[1] for name, x in ready.batch.features.items()}
    part, optimizer = config["training"], config["optimizer"]
    loss = build_loss(config, data.target)
    select = "loss" if part["select"] == "accuracy" and data.target.kind != "classes" else part["select"]
    scores = dict(accuracy=metrics.accuracy_then_loss(loss), loss=metrics.lowest_loss(loss), last=metrics.last_epoch)

    def optimizer_of(stage: Stage):
        rate = optimizer["learning_rate"] * stage.rate
        return optimizers.make(**{**optimizer, "learning_rate": rate}, epochs=stage.epochs)

    hooks = {} if partial is None else dict(restore=partial.restore, at_border=partial.at_border)
    trained = loop.train(
        build or functools.partial(build_model, config, feature_dims, data.target),
        ready.init_keys,
        ready.trials,
        ready.batch,
        ready.target,
        build_scheme(config).stages(part["epochs"]),
        optimizer_of,
        loss,
        scores[select],
        patience=part["patience"],
        chunk=part["chunk"],
        select_on_whole=config["protocol"] == "paper",
        select_every=part["select_every"],
        penalty=build_penalty(config),
        seed_axis=part["seed_axis"],
        **hooks,
    )
    return dataclasses.replace(
        trained, prediction=np.stack([ready.own_units(p, i) for i, p in enumerate(trained.prediction)])
    )


def known_to_control(config: Mapping[str, Any], ready: Prepared) -> Prepared:
    """The cell with the splits as its control uses them: validation rows are training rows where it may use those.

    Raises:
        ValueError: it may under protocol `paper`, whose validation rows are the test rows.
    """
    name = config["control"]["name"]
    if not zoo.make("control", name, options=config["control"]["options"]).validation_labels:
        return ready
    if config["protocol"] == "paper":
        raise ValueError(
            f"control {name!r}: validation_labels=True under protocol 'paper', where validation rows are the test rows "
            f"and training has all others; expected protocol 'honest'"
        )
    none = np.array([], int)
    splits = (Split(np.sort(np.concatenate([s.train, s.val])), none, s.test) for s in ready.splits)
    return dataclasses.replace(ready, splits=tuple(splits))


def fit_control(config: Mapping[str, Any], data: Dataset, ready: Prepared) -> np.ndarray:
    """Scores float32 [S, N, C] of a control, fitted for each seed on the features its model would see.

    A row that lacks a modality has the mean of its training rows there, whatever `data.scale` is.

    Raises:
        ValueError: the task is not classification of nodes, or scores are not [N, C].
        FloatingPointError: scores are not finite; names the control, the seed and the rows.
    """
    name = config["control"]["name"]
    if data.target.kind != "classes" or data.target.level != "node":
        raise ValueError(f"control {name!r} is for node classification")
    control = zoo.make("control", name, options=config["control"]["options"])
    scores = []
    for i, (seed, split) in enumerate(zip(ready.seeds, ready.splits, strict=True)):
        trial = dataclasses.replace(jax.tree.map(lambda a, i=i: a[i], ready.trials), graph=None, mask=None)
        shown = scaled(ready.batch, trial)
        x = np.concatenate(
            [filled(np.asarray(f), shown.mask[:, m], split.train) for m, f in enumerate(shown.features.values())],
            axis=1,
        )
        own = seed if "init" in config["vary"] else 0
        labels = np.full(data.num_nodes, -1)
        labels[split.train] = data.target.labels[split.train]
        found = np.asarray(control.predict(x, labels, split, ready.evaluated[i], data.target.num_outputs, own))
        if found.shape != (expected := (data.num_nodes, data.target.num_outputs)):
            raise ValueError(f"control {name!r}, seed {seed}: scores of shape {found.shape}, expected {expected}")
        with np.errstate(over="ignore"):
            bad = np.flatnonzero(~np.isfinite(found.astype(np.float32)).all(1))  # as they are stored
        if bad.size:
            rows = ", ".join(map(str, bad[:5])) + (", ..." if bad.size > 5 else "")
            raise FloatingPointError(
                f"control {name!r}, seed {seed}: scores of {bad.size} rows are not finite (rows {rows}, the first "
                f"{found[bad[0]].tolist()}); expected finite numbers"
            )
        scores.append(found.astype(np.float32))  # what is stored, so that metrics can be computed again from it
    return np.stack(scores)


def filled(x: np.ndarray, present: np.ndarray, train: np.ndarray) -> np.ndarray:
    """x [N, d] with the mean of the present training rows in every row that is not `present`, 0 if there are none."""
    fit = x[train[present[train]]]
    return np.where(present[:, None], x, fit.mean(0, dtype=np.float64) if len(fit) else 0).astype(x.dtype)


def prediction_table(
    prediction: np.ndarray,
    data: Dataset,
    ready: Prepared,
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
    for i, (seed, split) in enumerate(zip(ready.seeds, ready.splits, strict=True)):
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
    prediction: np.ndarray, data: Dataset, ready: Prepared, *, leave_out: Collection[int] = ()
) -> pd.DataFrame:
    """seed, part, metric, value for the training, validation and test rows; none of a part without rows.

    Args:
        leave_out: seeds without a result, which get no lines.
    """
    rows = []
    for i, (seed, split) in enumerate(zip(ready.seeds, ready.splits, strict=True)):
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


def all_diverged(label: str, diverged: list[list]) -> str:
    """What to say of a cell of which no seed has a result: [seed, epoch, cause] each."""
    shown = [f"seed {seed} at epoch {epoch} ({cause})" for seed, epoch, cause in diverged]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return (
        f"{label}: every seed diverged, {', '.join(shown[:3])}{more}; try a lower optimizer.learning_rate, or "
        "optimizer.clip=1.0"
    )


@own_settings()
def run_cell(
    cell: study.Cell,
    store: Store,
    data: Dataset,
    progress: Callable[[list[dict[str, np.ndarray]]], None] | None = None,
) -> dict[str, Any]:
    """Trains the missing seeds of a cell and stores them. Returns identity, seeds trained, seconds.

    A seed that diverges is kept as such: `diverged` of the part's cost.json has [seed, epoch, cause], no table but the
    history has a line of it, and it is not trained again.

    Args:
        progress: called with the history so far at the end of every chunk of epochs.
    Raises:
        ValueError: the config does not fit the data set, or stored seeds were trained on another split than the data
            set draws now; whatever training raises. Nothing is stored then.
        FloatingPointError: every seed of the cell diverged; says at which epoch and why. Nothing is stored then.
    """
    start = time.perf_counter()
    config = cell.config
    identity = cell.identity(data)
    done = store.finished_seeds(identity)
    store.check_splits(identity, {seed: split_of(config, data, seed) for seed in done})
    seeds = tuple(s for s in range(cell.seeds) if s not in done)
    if not seeds:
        return dict(identity=identity, seeds=(), seconds=0.0)
    if config["match_params"] and not config["control"]["name"]:
        from fusion_jax.training.match import match_width

        config = match_width(config, functools.partial(model_builder, data=data))
    ready = prepare(config, data, seeds)
    tables, checkpoint, uncertainty, diverged, used = {}, None, None, {}, ready
    if config["control"]["name"]:
        used = known_to_control(config, ready)
        prediction = fit_control(config, data, used)
        cost = dict(parameters=0)
    else:
        partial = Partial(
            store.cell(identity) / f".partial-{seeds[0]:04d}-{seeds[-1]:04d}-{(revision() or 'none')[:12]}",
            config["training"]["checkpoint_seconds"],
            progress,
        )
        trained = train_model(config, data, ready, partial)
        diverged = {seeds[i]: [seeds[i], *why] for i, why in trained.diverged.items()}
        if set(done) | set(seeds) == set(store.diverged(identity)) | set(diverged):
            partial.clear()  # else the next attempt would go on from the diverged state
            raise FloatingPointError(all_diverged(cell.label, list(diverged.values())))
        prediction, uncertainty = trained.prediction, trained.uncertainty
        tables["history"] = history_table(trained.history, seeds)
        trained.cost["train_seconds"] += partial.before
        cost = dict(trained.cost, best_epoch=trained.best_epoch.tolist(), dim=config["model"]["dim"])
        checkpoint = dict(params=nnx.to_pure_dict(trained.params), rest=nnx.to_pure_dict(trained.rest))
    tables["predictions"] = prediction_table(prediction, data, used, uncertainty, leave_out=diverged)
    tables["metrics"] = metric_table(prediction, data, used, leave_out=diverged)
    cost = dict(
        cost,
        seconds=time.perf_counter() - start,
        seeds=len(seeds),
        split_rule=data.splits.rule,
        diverged=list(diverged.values()),
    )
    cost["splits"] = {str(seed): split_digest(split) for seed, split in zip(seeds, ready.splits, strict=True)}
    store.write_part(identity, cell, seeds, tables, cost, checkpoint)
    if checkpoint is not None:
        partial.clear()
    return dict(identity=identity, seeds=seeds, seconds=time.perf_counter() - start)


FLAGS = flags.FLAGS


def show_progress(history: list[dict[str, np.ndarray]]) -> None:
    """One line on standard error: how far training is, and the mean losses of the seeds that still train."""
    last = {name: values[:, -1] for name, values in history[-1].items()}
    training = ~np.isnan(last["train_loss"])
    losses = [
        f"{word} loss {last[name][training].mean():.4f}"
        for word, name in (("training", "train_loss"), ("validation", "val_loss"))
        if np.isfinite(last[name][training]).any()
    ]
    count = f"{training.sum()} of {len(training)} seeds train"
    epoch = sum(h["train_loss"].shape[1] for h in history)
    print(f"epoch {epoch}: {', '.join([count, *losses])}", file=sys.stderr, flush=True)


def main(argv):
    del argv
    try:
        cell = study.resolve(FLAGS.config)
        check_platform()
        use_cache()
        data = load_data(cell.config["data"]["name"], **cell.config["data"]["options"])
        store = Store(FLAGS.workdir, create=True)
        with exclusive(store.root):
            store.add_cell(cell.identity(data), cell, "experiments.train")
            done = run_cell(cell, store, data, show_progress)
        table = store.table(done["identity"], "metrics")
        diverged = store.diverged(done["identity"])
    except (ValueError, OSError, ImportError) as error:
        arguments.fail(error)
    except FloatingPointError as error:
        arguments.fail(error, status=1)
    wide = table[table.part == "test"].pivot(index="seed", columns="metric", values="value")
    file, _ = study.split(str(FLAGS["config"].config_filename))
    base = " (what the study's cells start from; experiments.sweep runs the cells)"
    print(f"{cell.label}{base if hasattr(study.load(file), 'sweep') else ''}: {store.cell(done['identity'])}")
    for seed, (epoch, cause) in diverged.items():
        print(f"seed {seed} diverged at epoch {epoch}: {cause}")
    print(wide.describe().loc[["mean", "std"]].to_string(float_format="%.4f"))


if __name__ == "__main__":
    arguments.define_study("the study file, FILE or FILE:argument; the defaults of every key if none")
    flags.DEFINE_string("workdir", None, "the results folder", required=True)
    arguments.run(main, default=defaults.__file__)
