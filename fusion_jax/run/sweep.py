"""Runs or resumes a study: every cell of it, finished ones skipped, failing ones recorded.

Several processes may run one study (`results.joint`): each takes cells that nobody holds, those that others hold last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fusion_jax import zoo
from fusion_jax.data import Dataset, loader_of
from fusion_jax.data import load as load_data
from fusion_jax.folders import Damaged
from fusion_jax.results import process
from fusion_jax.results.claim_record import record, states
from fusion_jax.results.claims import resolved
from fusion_jax.results.joint import Joint
from fusion_jax.results.lease import Held
from fusion_jax.results.lock import briefly, holders
from fusion_jax.results.store import Store
from fusion_jax.run.cell import check_splits, missing
from fusion_jax.run.engines.base import Job, Outcome
from fusion_jax.run.progress import Tell
from fusion_jax.run.tuning import open_storage
from fusion_jax.study import Cell, Claim
from fusion_jax.training import programs
from fusion_jax.training.prepare import split_of

Datasets = Mapping[str, Dataset | Exception]


def data_key(cell: Cell) -> str:
    """What names the data set of a cell: its name and options."""
    return repr((cell.plan.data.name, sorted(cell.plan.data.options.items())))


def load_all(cells: Sequence[Cell], given: Mapping[str, Dataset] | None = None) -> dict[str, Dataset | Exception]:
    """Every data set the cells name, loaded once; or why it cannot be.

    Args:
        given: {name: data set} of those in memory, which no file makes.
    """
    found: dict[str, Dataset | Exception] = {}
    for cell in cells:
        key, part = data_key(cell), cell.plan.data
        if part.name in (given or {}):
            found[key] = given[part.name]
        if key not in found:
            loader_of(part.name, part.options)  # an unknown name is a mistake in the study, no failure
            try:
                found[key] = load_data(part.name, **part.options)
            except (OSError, ImportError, ValueError) as error:
                found[key] = error
            except SystemExit as error:
                found[key] = ValueError(f"data set {part.name!r} ended the program: SystemExit: {error}")
    return found


def identify(cells: Sequence[Cell], datasets: Datasets, there: Sequence[Mapping] = ()) -> list[tuple[str, Cell]]:
    """Every cell with its identity; cells that come to be the same on their data set once, under the first's label.

    A tuned cell and one whose values were set by hand are two rows, if they come to be the same.

    A cell whose data set cannot be loaded keeps the identity it has among the cells that are `there`, in the study of
    the folder.
    """
    known = {plain_cell(entry["config"]): entry["id"] for entry in there}
    unique: dict[tuple[str, str], tuple[str, Cell]] = {}
    for cell in cells:
        data = datasets[data_key(cell)]
        loaded = not isinstance(data, Exception)
        cell = recalled(cell, ("name", cell.identity(data)) if loaded else ("asked", cell.identity("")), there)
        if loaded:
            identity = cell.identity(data)
        else:
            identity = known.get(plain_cell(cell.config)) or cell.identity("not loaded")
        unique.setdefault((identity, cell.tuned.get("name", "")), (identity, cell))
    return list(unique.values())


def recalled(cell: Cell, name: tuple[str, str], there: Sequence[Mapping]) -> Cell:
    """The cell that a tuning of that name has chosen, if it is `there`; else the cell as it is."""
    if cell.tuning is None:
        return cell
    field, value = name
    entry = next((e for e in there if e.get("tuned", {}).get(field) == value), None)
    if entry is None:
        return cell
    return dataclasses.replace(cell, config=entry["config"], tuning=None, tuned=entry["tuned"])


def plain_cell(config: Mapping) -> str:
    """The config as it is written, but for how many seeds are wanted and the label."""
    return json.dumps({k: v for k, v in config.items() if k not in ("seeds", "label")}, sort_keys=True)


def trouble(identity: str, cell: Cell, store: Store, data: Dataset | Exception) -> Exception | None:
    """What of the stored cell cannot be read; None where nothing is wrong with it.

    Raises:
        ValueError: stored seeds were trained on another split than the data set draws now.
    """
    try:
        if store.finished_seeds(identity):
            store.check(identity)
            if not isinstance(data, Exception):
                check_splits(cell.plan, data, store, identity)
        return None
    except Damaged as error:
        return Damaged(f"{error}; to train the cell again remove {os.fspath(store.cell(identity))}")


def check_tuning_seeds(identified: Sequence[tuple[str, Cell]], datasets: Datasets) -> None:
    """Raises ValueError where a cell is to be tuned on data that state their splits, and none for its tuning seeds."""
    for _, cell in identified:
        data = datasets[data_key(cell)]
        if cell.tuning is None or isinstance(data, Exception):
            continue
        seeds, draw = cell.tuning.seeds, dict(per_seed=cell.plan.per_seed, protocol=cell.plan.protocol)
        try:
            split_of(data, seeds[0], **draw)
        except ValueError as error:
            raise ValueError(
                f"{cell.label}: it is tuned on seeds of its own, {', '.join(map(str, seeds))}, so that no final seed "
                f"has a part in the choice, and {error}; state one split for all seeds, have them drawn, or leave it "
                "untuned (tune=False)"
            ) from error


def grown(identified: Sequence[tuple[str, Cell]], store: Store) -> list[tuple[str, Cell]]:
    """The cells with as many seeds as they have in a study that was looked at while seeds were added (`run.until`).

    To leave some of them out again would be to choose when to have stopped.
    """
    study = store.read_study() if (store.root / "study.json").exists() else {}
    seeds = {entry["id"]: entry["seeds"] for entry in study["cells"]} if "looks" in study else {}
    return [(i, dataclasses.replace(cell, seeds=max(cell.seeds, seeds.get(i, 0)))) for i, cell in identified]


@zoo.held()
@programs.held()
def run(
    cells: Sequence[Cell],
    store: Store,
    source: str,
    *,
    published: Sequence[dict] = (),
    claims: Sequence[Claim] = (),
    measured: Mapping[str, str] | None = None,
    looks: Sequence[int] = (),
    engine: str = "serial",
    workers: int | None = None,
    engine_options: Mapping[str, Any] = types.MappingProxyType({}),
    datasets: Mapping[str, Dataset] | None = None,
    joint: Joint | None = None,
    loaded: Callable[[Dataset], None] = lambda data: None,
    begin: Callable[[int, int], None] = lambda cells, waiting: None,
    progress: Tell | None = None,
    done: Callable[[Outcome, str], None] = lambda outcome, problem: None,
    elsewhere: Callable[[Sequence[Outcome]], None] = lambda outcomes: None,
) -> int:
    """Runs the cells that are not finished; returns how many failed, here or meanwhile in another process.

    A mechanism in a file outside is what it is when the run begins; what is written to it later is for the next run.
    Cells that differ only in numbers that a program is told share their program.

    Args:
        source: the study file, kept with the study.
        published: rows of others, kept for the report.
        claims: what the study says beforehand, written down before anything is trained.
        measured: rows that claims may name though nothing trains them, see `claims.resolved`.
        looks: at how many seeds it will be looked at (`run.until`), likewise; () for a fixed number.
        engine, workers: a file of `run/engines`, and how many cells it runs at a time; its own number if None.
        engine_options: what else the engine takes.
        datasets: {name: data set} of those in memory (`memory:...`), which no file makes.
        joint: the folder as it is shared with other processes that run the same study, from the time that it is written
            or found to be the same; None where the caller has the folder alone.
        loaded: called with every data set.
        begin: called with the number of cells and how many of them are to be run.
        progress: called with how far a cell is, when it begins and at the end of every chunk of epochs, and before that
            with how far its tuning is, in whichever thread trains it; what it raises fails the cell.
        done: called with every outcome, and with why a failure could not be recorded ("" where it was).
        elsewhere: called at the end with the outcomes of cells that other processes hold still, if there are any.
    Raises:
        Held: another process works on another study in the folder.
        ImportError: a cell is to be tuned, and Optuna is not installed.
        OSError, ImportError, ValueError: no data set can be loaded, and the folder holds no study yet: why the first
            cannot. Where some can, the cells of the others fail.
        ValueError: an unknown data set or option; a claim about rows that the study does not have; stored seeds were
            trained on another split; a data set has no splits for the tuning seeds.
    """
    datasets = load_all(cells, datasets)
    for data in datasets.values():
        if isinstance(data, Dataset):
            loaded(data)
    with contextlib.nullcontext(True) if joint is None else joint.begun() as alone:
        there = store.read_study()["cells"] if (store.root / "study.json").exists() else []
        if not there and all(isinstance(data, Exception) for data in datasets.values()):
            raise next(iter(datasets.values()))
        identified = grown(identify(cells, datasets, there), store)
        stated = resolved(claims, [cell for _, cell in identified], source, measured)
        check_tuning_seeds(identified, datasets)
        broken = {i: trouble(i, c, store, datasets[data_key(c)]) for i, c in identified}
        if not alone:
            _check_same(store, identified, published, stated)
        else:
            store.write_study(identified, source, published)
            record(store, stated)
            if looks:
                store.amend(looks={**store.read_study().get("looks", {}), "plan": list(looks)})
        jobs = {
            i: Job(i, c, store, datasets[data_key(c)], broken[i], progress, _failure(store, i))
            for i, c in reversed(identified)  # of rows that are one cell the first
            if broken[i] or missing(c, store, i)
        }
        waiting = list(reversed(jobs.values()))
        if any(job.cell.tuning is not None for job in waiting):
            open_storage(store)  # before workers of any kind would make it twice
    begin(len(identified), len(waiting))
    failed = 0
    while waiting:
        held = []
        for outcome in zoo.get("engine", engine)(waiting, workers=workers, **engine_options):
            if outcome.held:
                held.append(outcome)
                continue
            if outcome.job.cell.tuned:
                with briefly(store.root):
                    store.choose(outcome.job.cell.tuned["name"], outcome.job.identity, outcome.job.cell)
            outcome = outcome.recorded()
            failed += outcome.result is None
            done(outcome, outcome.problem or "")
        if len(held) == len(waiting):
            elsewhere(held)
            break
        waiting = [outcome.job for outcome in held]  # while others were trained they may have become free
    return failed


def _check_same(
    store: Store, identified: Sequence[tuple[str, Cell]], published: Sequence[dict], stated: Sequence[Claim]
) -> None:
    """Raises Held where the study that others work on is not of these cells, rows and claims."""
    if store.lists(list(identified), published) and states(store.read_study(), stated):
        return
    who = ", ".join(name for name in holders(store.root) if name != process.this()) or "another process"
    raise Held(
        errno.EAGAIN,
        f"{who} works on another study here, of other cells, seeds, published rows or claims; wait for it, or name "
        "another folder",
        os.fspath(store.root),
    )


def _failure(store: Store, identity: str) -> dict[str, str] | None:
    """How the cell has failed, {} where it has not; None where that cannot be read."""
    with contextlib.suppress(Damaged):
        return store.failure(identity) or {}
    return None
