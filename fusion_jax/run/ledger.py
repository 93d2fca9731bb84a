"""Runs or resumes studies of claims one after another, each in a folder of its own."""

from __future__ import annotations

import contextlib
import math
import numbers
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etils import epath

from fusion_jax import metrics
from fusion_jax.folders import Damaged, digest
from fusion_jax.results import measured_rows
from fusion_jax.results.joint import Joint
from fusion_jax.results.lock import holding
from fusion_jax.results.restore import Restored, restore
from fusion_jax.results.store import Store
from fusion_jax.run.engines.base import Outcome
from fusion_jax.run.sweep import run
from fusion_jax.study import published
from fusion_jax.study.claim_files import ClaimStudy
from fusion_jax.training import stopping
from fusion_jax.training.compilation import own_settings

Said = Callable[[ClaimStudy, str], None]


def run_studies(
    studies: Sequence[ClaimStudy],
    workdir: str | os.PathLike,
    *,
    begun: Callable[[ClaimStudy, int], None] = lambda study, waiting: None,
    done: Callable[[ClaimStudy, Outcome, str], None] = lambda study, outcome, problem: None,
    elsewhere: Callable[[ClaimStudy, Sequence[Outcome]], None] = lambda study, outcomes: None,
    **options: Any,
) -> dict[str, str]:
    """Runs what is not finished; returns {system: why it could not be run} of those that could not.

    A study that cannot be run (its data set is not there, say) stops no other. Several processes may run the same
    studies: who trains the last cell of one measures on it.

    Args:
        begun: called with every study and the number of its cells that are to be run.
        done, elsewhere: called with every outcome, and with those that are left to others, see `run.sweep.run`.
        options: engine, workers, progress, loaded of `run.sweep.run`.
    Raises:
        Stopped: it was asked to stop (`training.stopping`).
    """
    failed = {}
    for study in studies:
        stopping.check()
        try:
            store = Store(epath.Path(workdir) / study.system, create=True)
            with Joint(store.root) as joint:
                run(
                    study.cells,
                    store,
                    study.source,
                    published=published(study.module),
                    claims=study.claims,
                    measured=study.measured,
                    joint=joint,
                    begin=lambda cells, waiting, study=study: begun(study, waiting),
                    done=lambda outcome, problem, study=study: done(study, outcome, problem),
                    elsewhere=lambda outcomes, study=study: elsewhere(study, outcomes),
                    **options,
                )
                stopping.check()
                with holding(store.root, "measured", wait=True):
                    measure(study, store)
        except (ValueError, OSError, ImportError) as error:
            failed[study.system] = " ".join(str(error).split())
    return failed


@own_settings()
def measure(study: ClaimStudy, store: Store) -> None:
    """Measures on the trained cells what the file says, unless that is done or cells are not finished.

    Raises:
        ValueError: the file did not measure what it says, or failed; names it.
    """
    entries = {entry["label"]: entry for entry in store.read_study()["cells"]}
    wanted = {label: entries[label] for label in dict.fromkeys(study.measured.values())}
    if not wanted or any(len(store.finished_seeds(e["id"])) < e["seeds"] for e in wanted.values()):
        return
    by = digest(pathlib.Path(study.path).read_bytes())
    with contextlib.suppress(Damaged):  # it is written anew
        if measured_rows.is_current(store, by):
            return
    start = time.perf_counter()
    cells = {label: restore(store, entry["id"]) for label, entry in wanted.items()}
    try:
        found = study.module.measured(cells)
    except Exception as error:  # a file of the user's
        raise ValueError(f"{study.path}: measured() failed: {type(error).__name__}: {error}") from error
    for row, label in study.measured.items():
        _check(found.get(row) if isinstance(found, dict) else None, cells[label], f"{study.path}: measured()[{row!r}]")
    rows = {row: (wanted[label]["id"], found[row]) for row, label in study.measured.items()}
    measured_rows.write(store, rows, by=by, seconds=time.perf_counter() - start)


def _check(values: Any, cell: Restored, at: str) -> None:
    """Raises ValueError where that is not {metric: {seed of the cell: number}}."""
    if not isinstance(values, dict) or not values or not all(isinstance(v, dict) and v for v in values.values()):
        raise ValueError(f"{at} is {values!r}; expected {{metric: {{seed: value}}}}")
    for metric, by_seed in values.items():
        metrics.named(metric)
        for seed, value in by_seed.items():
            if seed not in cell.seeds:
                raise ValueError(f"{at}[{metric!r}] has seed {seed!r}; the cell has {', '.join(map(str, cell.seeds))}")
            if not isinstance(value, numbers.Real) or not math.isfinite(value):
                raise ValueError(f"{at}[{metric!r}][{seed}]={value!r}; expected a finite number")


def stores_of(studies: Sequence[ClaimStudy], workdir: str | os.PathLike) -> Mapping[str, Store]:
    """{system: the folder of its study} of those that were begun."""
    found = {study.system: epath.Path(workdir) / study.system for study in studies}
    return {system: Store(path) for system, path in found.items() if (path / "study.json").exists()}
