"""The contract of an engine: jobs in, outcomes out, in whatever order they are finished.

An engine is a generator named like its file,

    def serial(jobs: Iterable[Job], *, workers: int | None) -> Iterator[Outcome]

(`workers` None for as many as suit it; what else it takes has defaults),

which calls `run_job` once a job, wherever it likes: a job and an outcome can be pickled. A failing cell is an outcome,
and stops no other. When the consumer leaves off (Ctrl-C, `close`), no further job is begun; where one was asked to stop
(`Stopped`), the others are waited for, which stop at their own borders, and it is raised. Who listens to a job does
so in the process it was made in: an engine that runs it in another one replaces `tell` there by what sends the records
back, and calls the job's own here.

A cell belongs to whoever holds it (`results.lock`), one process or thread at a time, from its tuning until it is
stored; the outcome of one that another process holds says so, and comes at once. What is missing of a cell is looked up
behind that, so that no trial is trained twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from fusion_jax.data.base import Dataset
from fusion_jax.folders import Damaged
from fusion_jax.results.lease import Held, Lost
from fusion_jax.results.lock import holding
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
        failed: how the last attempt had failed when the job was made (`Store.failure`), {} where none had. Where the
            cell has failed otherwise when it is begun, another process has tried it since, and it is not tried again.
            None: it is tried whatever has happened.
    """

    identity: str
    cell: Cell
    store: Store
    data: Dataset | Exception
    trouble: Exception | None = None
    tell: Tell | None = None
    failed: dict[str, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "tell": None}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a job: what `run_cell` returned, or the error with its trace, or who else has it.

    Attributes:
        problem: why the failure could not be recorded, "" where it was, None where nobody has tried.
        held: the process that holds the cell, which is no failure; "" where none does.
    """

    job: Job
    result: dict[str, Any] | None
    error: str = ""
    trace: str = ""
    problem: str | None = None
    held: str = ""

    def recorded(self) -> Outcome:
        """The same, a failure written into the folder of its cell."""
        if self.result is not None or self.held or self.problem is not None:
            return self
        try:
            self.job.store.write_failure(self.job.identity, self.job.cell, self.error, self.trace)
        except OSError as error:
            return dataclasses.replace(self, problem=str(error))
        return dataclasses.replace(self, problem="")


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
        with _alone(job.identity), holding(job.store.root, job.identity) as still:
            if (failure := _tried(job)) is not None:
                return Outcome(job, None, failure.get("error", ""), failure.get("traceback", ""), "")
            return _run(job, still)
    except Held as error:
        return Outcome(job, None, held=error.strerror)
    except OSError as error:  # it cannot be locked
        return _failed(job, error)


def _tried(job: Job) -> dict[str, str] | None:
    """How the cell has failed since the job was made; None where it has not."""
    if job.failed is None:
        return None
    with contextlib.suppress(Damaged):
        now = job.store.failure(job.identity) or {}
        return now if now and now != job.failed else None
    return None


def _run(job: Job, still: Callable[[], None]) -> Outcome:
    """The outcome of a job whose cell is held; `still` raises Lost where it is no more."""
    with contextlib.ExitStack() as stack:
        try:
            for reason in (job.trouble, job.data):
                if isinstance(reason, Exception):
                    raise reason
            if job.cell.tuning is not None:
                cell = tuned(job.cell, job.store, job.data, *filter(None, [job.tell]))
                still()
                job = dataclasses.replace(job, identity=cell.identity(job.data), cell=cell)
                stack.enter_context(_alone(job.identity))
                still = stack.enter_context(holding(job.store.root, job.identity, wait=True))
            done = run_cell(job.cell, job.store, job.data, told(job), identity=job.identity, still=still)
            return Outcome(job, done)
        except stopping.Stopped:
            raise
        except Lost:
            return Outcome(job, None, held="another process")
        except (Exception, SystemExit) as error:  # what ends the program in a mechanism's file ends this cell
            return _failed(job, error).recorded()


def _failed(job: Job, error: BaseException) -> Outcome:
    return Outcome(job, None, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


def told(job: Job) -> Told | None:
    """What tells a job's listener how far it is; None where there is none, or nothing to be trained."""
    seeds = missing(job.cell, job.store, job.identity)
    return Told(job.tell, job.identity, job.cell, job.data, seeds) if job.tell is not None and seeds else None
