"""What an engine that runs cells elsewhere sends there, and what it makes of what comes back."""

from __future__ import annotations

import contextlib
import dataclasses
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from fusion_jax.run.engines.base import Job, Outcome, run_job
from fusion_jax.run.followed import Followed
from fusion_jax.run.progress import Progress, Tell, TuningProgress
from fusion_jax.training import programs, stopping
from fusion_jax.training.compilation import check_platform, use_cache


class Task:
    """Runs one job in a process of its own, which can be asked to save and stop while it does.

    The job runs in a thread, so that the main one is free for signals whatever the compiled program does.
    """

    def __init__(self) -> None:
        self.running = None

    def __call__(self, job: Job, tell: Tell = lambda progress: None) -> Outcome:
        """The outcome, without the data set, which whoever made the job has.

        Raises:
            Stopped: it was asked to stop.
        """
        check_platform()
        use_cache()
        with programs.held(), _followed(job) as followed, ThreadPoolExecutor(1) as pool:
            self.running = pool.submit(run_job, dataclasses.replace(job, tell=_both(followed.progress_of, tell)))
            try:
                return slim(self.running.result())
            except KeyboardInterrupt:  # as Ray asks a task to end
                self.stop()
                raise

    def stop(self) -> None:
        """Asks the job to save and stop, and waits until it has."""
        stopping.ask()
        with contextlib.suppress(BaseException):
            self.running.result()

    def __getstate__(self) -> dict:
        return {"running": None}


class _Followed(Followed):
    """Tells the page of a study how far the job is."""

    def progress_of(self, progress: Progress | TuningProgress) -> None:
        (self.tuning if isinstance(progress, TuningProgress) else self.progress)(progress)


@contextlib.contextmanager
def _followed(job: Job) -> Iterator[_Followed]:
    with contextlib.closing(_Followed(job.store)) as followed:
        yield followed


def _both(first: Tell, second: Tell) -> Tell:
    def tell(progress: Progress | TuningProgress) -> None:
        first(progress)
        second(progress)

    return tell


def slim(outcome: Outcome) -> Outcome:
    """The outcome with nothing in it that whoever made its job has already."""
    return dataclasses.replace(outcome, job=dataclasses.replace(outcome.job, data=ValueError("left out")))


def whole(outcome: Outcome, job: Job) -> Outcome:
    """The outcome of that job as it came back, about the job that was made here; a tuned one has another cell."""
    own = outcome.job
    return dataclasses.replace(outcome, job=dataclasses.replace(job, identity=own.identity, cell=own.cell))


def lost(job: Job, error: BaseException, where: str) -> Outcome:
    """The outcome of a job whose process has ended without one."""
    said = " ".join(str(error).split())
    trace = "".join(traceback.format_exception(error))
    return Outcome(job, None, f"{where} ended without a result: {type(error).__name__}: {said[:2000]}", trace)


def together(jobs: Sequence[Job], key: Callable[[Job], object]) -> list[list[Job]]:
    """The jobs in groups of an equal key, in their order."""
    groups: dict[object, list[Job]] = {}
    for job in jobs:
        groups.setdefault(key(job), []).append(job)
    return list(groups.values())
