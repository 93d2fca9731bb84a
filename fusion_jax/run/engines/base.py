"""The contract of an engine: jobs in, outcomes out, in whatever order they are finished.

An engine is a generator named like its file,

    def serial(jobs: Iterable[Job], *, workers: int) -> Iterator[Outcome]

which calls `run_job` once a job, wherever it likes: a job and an outcome can be pickled. A failing cell is an outcome,
and stops no other. When the consumer leaves off (Ctrl-C, `close`), no further job is begun; where one was asked to stop
(`Stopped`), the others are waited for, which stop at their own borders, and it is raised. Who listens to a job does
so in the process it was made in: an engine that runs it in another one replaces `tell` there by what sends the records
back, and calls the job's own here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from fusion_jax.data.base import Dataset
from fusion_jax.results.store import Store
from fusion_jax.run.cell import missing, run_cell
from fusion_jax.run.progress import Tell, Told
from fusion_jax.run.tuning import tuned
from fusion_jax.study import Cell
from fusion_jax.training import stopping


@dataclasses.dataclass(frozen=True)
class Job:
    """One cell to be run.

    Attributes:
        identity, cell, store: the cell and the study's folder.
        data: its data set; or why that cannot be loaded.
        trouble: what of the stored cell cannot be read; None where nothing is wrong with it.
        tell: called with a `Progress` when the cell begins and at the end of every chunk of epochs, and of one that is
            tuned first with a `TuningProgress`; not pickled.
    """

    identity: str
    cell: Cell
    store: Store
    data: Dataset | Exception
    trouble: Exception | None = None
    tell: Tell | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "tell": None}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a job: what `run_cell` returned, or the error with its trace."""

    job: Job
    result: dict[str, Any] | None
    error: str = ""
    trace: str = ""


_GUARD, _LOCKS = threading.Lock(), {}


@contextlib.contextmanager
def _alone(identity: str) -> Iterator[None]:
    """A tuned cell may come to be one that runs already: the second waits, and finds it finished."""
    with _GUARD:
        lock = _LOCKS.setdefault(identity, threading.Lock())
    with lock:
        yield


def run_job(job: Job) -> Outcome:
    """Runs one cell, tuned first where it is to be; whatever goes wrong in it becomes the outcome.

    The outcome of a tuned cell is that of the cell that was chosen, under its identity.

    Raises:
        Stopped: it was asked to stop (`training.stopping`), which is no failure of the cell.
    """
    stopping.check()
    try:
        for reason in (job.trouble, job.data):
            if isinstance(reason, Exception):
                raise reason
        if job.cell.tuning is not None:
            cell = tuned(job.cell, job.store, job.data, *filter(None, [job.tell]))
            job = dataclasses.replace(job, identity=cell.identity(job.data), cell=cell)
        with _alone(job.identity):
            return Outcome(job, run_cell(job.cell, job.store, job.data, told(job), identity=job.identity))
    except stopping.Stopped:
        raise
    except (Exception, SystemExit) as error:  # what ends the program in a mechanism's file ends this cell
        return Outcome(job, None, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


def told(job: Job) -> Told | None:
    """What tells a job's listener how far it is; None where there is none."""
    if job.tell is None:
        return None
    return Told(job.tell, job.identity, job.cell, job.data, missing(job.cell, job.store, job.identity))
