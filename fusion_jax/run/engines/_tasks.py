"""What an engine that runs cells elsewhere sends there, and what it makes of what comes back."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from fusion_jax.run.engines.base import Job, Outcome, run_job
from fusion_jax.run.followed import Followed
from fusion_jax.run.listeners import Listeners
from fusion_jax.run.progress import Progress, Tell, TuningProgress
from fusion_jax.training import programs, stopping
from fusion_jax.training.compilation import check_platform, use_cache


def check_shared(jobs: Sequence[Job], engine: str) -> str:
    """The folder of the jobs. Raises ValueError where it is none that several machines see."""
    root = os.fspath(jobs[0].store.root)
    if "://" in root:
        raise ValueError(f"engine {engine!r}: {root} is no folder that machines share; expected a path")
    return root


class Task:
    """Runs one job in a process of its own, which can be asked to save and stop while it does.

    The job runs in a thread, so that the main one is free for signals whatever the compiled program does.
    """

    def __init__(self) -> None:
        self.running: Future | None = None

    def __call__(self, job: Job, tell: Tell = lambda progress: None) -> Outcome:
        """The outcome, without the data set, which whoever made the job has; the page of the study is told as well.

        Raises:
            Stopped: it was asked to stop.
        """
        check_platform()
        use_cache()
        with (
            programs.held(),
            contextlib.closing(Listeners([Followed(job.store)])) as page,
            ThreadPoolExecutor(1) as pool,
        ):

            def told(progress: Progress | TuningProgress) -> None:
                page.progress(progress)
                tell(progress)

            self.running = pool.submit(run_job, dataclasses.replace(job, tell=told))
            try:
                return slim(self.running.result())
            except KeyboardInterrupt:  # as Ray asks a task to end
                self.stop()
                raise

    def stop(self) -> None:
        """Asks the job to save and stop, and waits until it has ended, however it does."""
        stopping.ask()
        if self.running is not None:
            wait([self.running])

    def __getstate__(self) -> dict:
        return {"running": None}


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
