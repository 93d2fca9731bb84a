"""Chooses values for one cell: trials on the tuning seeds, scored on their validation rows, kept in SQLite.

`<workdir>/tuning.sqlite3` is an Optuna storage with a study for every tuning (`Tuning.name`). Trials go in batches,
and all of a batch that differ in numbers only are one compiled program (`run.model.train_models`). Every trial draws
from a generator of its own, seeded by its number, and a batch is asked for before it is trained: what was interrupted
goes on with the trials that have no score yet, as they were drawn, and chooses what it would have chosen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fusion_jax import metrics, tasks, zoo
from fusion_jax.data.base import Dataset
from fusion_jax.folders import Damaged
from fusion_jax.plan import Plan
from fusion_jax.results.recorded import scores
from fusion_jax.results.store import Store
from fusion_jax.run.control import fit_control
from fusion_jax.run.memory import in_parts
from fusion_jax.run.model import train_models
from fusion_jax.run.progress import Tell, TuningProgress
from fusion_jax.run.size import at_its_size
from fusion_jax.study import Cell, Tuning, with_values
from fusion_jax.study.tuning import grid, is_range
from fusion_jax.training.compilation import own_settings
from fusion_jax.training.numbers import compiled_in, in_space
from fusion_jax.training.prepare import prepare

BATCH = 8  # trials at a time, and those that a TPE draws at random before it looks at scores
DIGITS = 3  # of a chosen number: what was tried is what the table says
FILE = "tuning.sqlite3"
_CREATING = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Tried:
    """What one trial gave on the validation rows.

    Attributes:
        by_seed: {seed: (primary metric, the metric that breaks ties or None)}.
        error: why it has no score, "" where it has one.
    """

    by_seed: Mapping[int, tuple[float, float | None]]
    error: str = ""


@own_settings()
@zoo.held()
def tuned(cell: Cell, store: Store, data: Dataset, tell: Tell = lambda progress: None) -> Cell:
    """The cell with the values of its best trial; every trial is trained once, however often it is interrupted.

    A trial of which a seed diverges, or has no validation score, counts, and is not chosen. Of equal scores the
    task's other metric decides, then who came first.

    Args:
        tell: called with a `TuningProgress` when it begins and behind every batch of trials.
    Raises:
        ImportError: Optuna is not installed.
        ValueError: the study's folder is object storage; whatever of the cell does not fit the data set.
        Damaged: the storage, or a trial in it, cannot be read; names the file.
        FloatingPointError: no trial has a score; says why.
    """
    with _readable(store):
        return _tuned(cell, store, data, tell)


def _tuned(cell: Cell, store: Store, data: Dataset, tell: Tell) -> Cell:
    tuning, metric, identity = cell.tuning, _metric(data), cell.identity(data)
    study = open_study(store, identity)
    if tuning.sampler == "grid":
        for point in grid(tuning.space):
            study.enqueue_trial(_coded(tuning, point), skip_if_exists=True)
    for numbers in batches(tuning.trials):
        tell(_progress(cell, identity, study, metric))
        asked = {n: _ask(study, tuning, n) for n in numbers}
        waiting = {n: trial for n, trial in asked.items() if trial is not None}
        variants = {n: with_values(cell, values_of(tuning, trial.params)) for n, trial in waiting.items()}
        plans = [variant.plan for variant in variants.values()]
        found = try_out(plans, data, tuning.seeds, in_space(tuning.space), len(numbers))
        for trial, tried in zip(waiting.values(), found, strict=True):
            _tell(study, trial, tried, metric)
    tell(_progress(cell, identity, study, metric))
    return chosen(cell, [tried_in(trial, tuning, store) for trial in _first(study, tuning)], metric, data)


def _progress(cell: Cell, identity: str, study, metric: str) -> TuningProgress:
    """How far the trials are that an Optuna study holds, which maximises."""
    trials = _first(study, cell.tuning)
    scored = [trial.value for trial in trials if trial.state.is_finished() and trial.value is not None]
    best = (metric, metrics.sign(metric) * max(scored)) if scored else None
    done = sum(trial.state.is_finished() for trial in trials)
    return TuningProgress(identity, cell, done, cell.tuning.trials, best)


def _first(study, tuning: Tuning) -> list:
    """The trials that count."""
    return study.get_trials(deepcopy=False)[: tuning.trials]


def batches(trials: int) -> list[range]:
    """The numbers of the trials, in as few batches of at most `BATCH` as can be, of one size but for the last."""
    size = math.ceil(trials / math.ceil(trials / BATCH))
    return [range(first, min(first + size, trials)) for first in range(0, trials, size)]


def values_of(tuning: Tuning, params: Mapping[str, Any]) -> dict[str, Any]:
    """{key: value} of Optuna's parameters: numbers of a range in `DIGITS` digits, within its ends."""
    found = {}
    for key, values in tuning.space.items():
        value = params[key]
        if not is_range(values):
            value = values[value]
        elif values[2] != "int":
            value = min(max(float(f"{value:.{DIGITS}g}"), values[0]), values[1])
        found[key] = value
    return found


def _coded(tuning: Tuning, point: Mapping[str, Any]) -> dict[str, Any]:
    """The same the other way round: a value of a list is its place there, since Optuna stores numbers and texts."""
    return {key: tuning.space[key].index(value) for key, value in point.items()}


def try_out(
    plans: Sequence[Plan], data: Dataset, seeds: Sequence[int], told: Sequence[str], full: int = 0
) -> list[Tried]:
    """What plans give on the validation rows of the tuning seeds, in their order; equal plans are trained once.

    Args:
        told: the numbers in which plans of one program may differ (`training.numbers`).
        full: plans of one program are filled up to so many, so that a last batch needs no program of its own.
    """
    groups: dict[str, list[Plan]] = {}
    for plan in dict.fromkeys(map(repr, plans)):
        own = next(p for p in plans if repr(p) == plan)
        groups.setdefault(repr(compiled_in(own, told)), []).append(own)
    found: dict[str, Tried] = {}
    for group in groups.values():
        shown = group + [group[-1]] * (full - len(group) if len(groups) == 1 and not group[0].control.name else 0)
        for plan, tried in zip(group, _validated(shown, data, seeds, told), strict=False):
            found[repr(plan)] = tried
    return [found[repr(plan)] for plan in plans]


def _validated(plans: list[Plan], data: Dataset, seeds: Sequence[int], told: Sequence[str]) -> list[Tried]:
    """Of plans of one program."""
    prepared = prepare(plans[0].data, data, seeds, **plans[0].preparing)
    if plans[0].control.name:
        predictions, diverged = [fit_control(plan, data, prepared)[0] for plan in plans], {}
    else:
        width = at_its_size(plans[0], data).model.dim
        plans = [dataclasses.replace(p, model=dataclasses.replace(p.model, dim=width)) for p in plans]
        predictions, diverged = [], {}
        what = f"tuning on {data.name} ({len(seeds)} seeds a trial)"
        for some, trained in in_parts(lambda some: train_models(some, data, prepared, told=told), plans, what, "trial"):
            diverged |= {len(predictions) * len(seeds) + i: why for i, why in trained.diverged.items()}
            predictions += np.split(trained.prediction, len(some))
    found = []
    for t, prediction in enumerate(predictions):
        gone = [(seed, *diverged[i]) for i, seed in enumerate(seeds, t * len(seeds)) if i in diverged]
        error = "; ".join(f"seed {seed} diverged at epoch {epoch}: {cause}" for seed, epoch, cause in gone)
        rows = {} if error else {s: split.val for s, split in zip(seeds, prepared.splits, strict=True)}
        by_seed = {s: _score(scores(prediction[i], data.target, val), data) for i, (s, val) in enumerate(rows.items())}
        bad = [s for s, (value, _) in by_seed.items() if not math.isfinite(value)]
        error = error or "; ".join(f"seed {s} has no {_metric(data)}" for s in bad)
        found.append(Tried(by_seed, error))
    return found


def _metric(data: Dataset) -> str:
    task = tasks.of(data.target)
    return task.primary_of(task.about(data.target))


def _score(found: Mapping[str, float], data: Dataset) -> tuple[float, float | None]:
    return found[_metric(data)], found.get(tasks.of(data.target).tie)


def optuna():
    """The package, quiet. Raises ImportError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise ImportError("tuning needs Optuna: pip install 'fusion_jax[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_storage(store: Store):
    """The Optuna storage of a study's folder, made where there is none.

    Raises:
        ImportError: Optuna is not installed; ValueError: the folder is object storage.
    """
    package, folder = optuna(), os.fspath(store.root)
    if "://" in folder:
        raise ValueError(f"{folder!r}: tuning keeps its trials in SQLite, expected a folder of this machine")
    from sqlalchemy import URL

    url = URL.create("sqlite", database=os.path.join(os.path.abspath(folder), FILE))
    with _CREATING, _readable(store):  # two threads would make the tables twice
        try:
            return package.storages.RDBStorage(
                url.render_as_string(hide_password=False), engine_kwargs=dict(connect_args=dict(timeout=60))
            )
        except RuntimeError as error:  # of another version of Optuna
            raise _unreadable(store, error) from error


@contextlib.contextmanager
def _readable(store: Store) -> Iterator[None]:
    """Runs the block, in which the storage is read and written. Raises Damaged where that fails; names the file."""
    optuna()
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except StorageInternalError as error:
        raise _unreadable(store, error.__cause__ or error) from error
    except (SQLAlchemyError, json.JSONDecodeError) as error:
        raise _unreadable(store, error) from error


def _unreadable(store: Store, error: BaseException, where: str = "") -> Damaged:
    said = str(error).partition("\n")[0]
    file = os.path.join(os.fspath(store.root), FILE)
    return Damaged(f"{file}{where}: no trials can be read or written there ({said}); to tune again move it")


def open_study(store: Store, name: str):
    """The Optuna study of that name in the folder's storage, made where there is none. Raises as `open_storage`."""
    storage = open_storage(store)
    return optuna().create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)


def _ask(study, tuning: Tuning, number: int):
    """The trial of that number with all of its parameters; None where it has been told already."""
    package = optuna()
    study.sampler = _sampler(package, tuning, number)
    there = study.get_trials(deepcopy=False)
    if number < len(there) and there[number].state.is_finished():
        return None
    if number < len(there) and there[number].state == package.trial.TrialState.RUNNING:
        trial = package.trial.Trial(study, there[number]._trial_id)  # asked before it was interrupted
    else:
        trial = study.ask()
    for key, values in tuning.space.items():
        if not is_range(values):
            trial.suggest_categorical(key, range(len(values)))
        elif values[2] == "int":
            trial.suggest_int(key, values[0], values[1])
        else:
            trial.suggest_float(key, values[0], values[1], log=values[2] == "log")
    return trial


def _sampler(package, tuning: Tuning, number: int):
    """The sampler as it is for that trial."""
    seed = int(np.random.SeedSequence([tuning.draw, number]).generate_state(1)[0])
    if tuning.sampler == "tpe":
        return package.samplers.TPESampler(n_startup_trials=BATCH, constant_liar=True, seed=seed)
    return package.samplers.RandomSampler(seed=seed)


def _tell(study, trial, tried: Tried, metric: str) -> None:
    """Stores a trial; one without a score is pruned, so that a sampler keeps away from there."""
    package = optuna()
    trial.set_user_attr("validation", json.dumps(dataclasses.asdict(tried)))
    if tried.error:
        study.tell(trial, state=package.trial.TrialState.PRUNED)
    else:
        study.tell(trial, metrics.sign(metric) * _mean(tried, 0))


def _mean(tried: Tried, place: int) -> float | None:
    values = [values[place] for values in tried.by_seed.values()]
    return None if not values or None in values else float(np.mean(values))


def tried_in(trial, tuning: Tuning, store: Store) -> dict[str, Any]:
    """A finished trial of the storage: number, values, score, tie, by_seed, error, as a study keeps it.

    Raises:
        Damaged: it is not what was stored; names the file and the trial.
    """
    try:
        held = json.loads(trial.user_attrs["validation"])
        tried = Tried({int(seed): (score, tie) for seed, (score, tie) in held["by_seed"].items()}, held["error"])
        values = values_of(tuning, trial.params)
        scores = [None if tried.error else _mean(tried, place) for place in (0, 1)]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        said = f"{type(error).__name__}: {error}"
        raise _unreadable(store, ValueError(said), f", trial {trial.number}") from error
    by_seed = {str(seed): pair[0] for seed, pair in tried.by_seed.items()}
    return dict(number=trial.number, values=values, score=scores[0], tie=scores[1], by_seed=by_seed, error=tried.error)


def chosen(cell: Cell, lines: Sequence[Mapping[str, Any]], metric: str, data: Dataset) -> Cell:
    """The cell with the values of the best of its trials (`tried_in`), and the record of them all."""
    tuning, tie = cell.tuning, tasks.of(data.target).tie
    scored = [line for line in lines if line["score"] is not None]
    if not scored:
        raise FloatingPointError(f"{cell.label}: no tuning trial has a score, {lines[0]['error']}")

    def worth(line: Mapping[str, Any]) -> tuple[float, float]:
        other = 0.0 if line["tie"] is None else metrics.sign(tie) * line["tie"]
        return metrics.sign(metric) * line["score"], other

    best = max(scored, key=worth)  # of equal ones the first
    record = tuning.record() | dict(
        name=cell.identity(data), asked=cell.identity(""), metric=metric, chosen=best["values"], tried=list(lines)
    )
    found = with_values(dataclasses.replace(cell, tuning=None), best["values"])
    return dataclasses.replace(found, label=cell.label, seeds=cell.seeds, tuned=record)
