"""Cells as jobs of a SLURM cluster, through submitit (`pip install 'fusion_jax[slurm]'`).

    python -m experiments.sweep --config=STUDY --workdir=/shared/results --engine=slurm \\
        --engine_option partition=gpu --engine_option account=mine --config.resources.gpus=1

Cells that ask for equal resources (`config.resources`) are one job array, of which at most `--jobs` run at a time. The
command waits for them and reports. Where it is ended it cancels them; started again, here or on another machine, it
goes on from their last saves. A job that is
preempted or reaches its time limit saves what it trains, and is queued again. The results folder has to be one that
all machines see; what submitit keeps (scripts, logs, the jobs as they were sent) lies in its folder `slurm`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from fusion_jax.plan import Resources
from fusion_jax.run.engines._tasks import Task, check_shared, lost, whole
from fusion_jax.run.engines.base import Job, Outcome
from fusion_jax.run.workers import default_workers
from fusion_jax.training import stopping

NEEDS = "pip install 'fusion_jax[slurm]'"
FOLDER, DAY = "slurm", 24 * 60


class _Requeued(Task):
    """A task that is queued again where its job is preempted or out of time."""

    def checkpoint(self, job: Job) -> Any:
        """What submitit calls in the job's main thread when it is told to end: saves, and says what to run next."""
        from submitit.helpers import DelayedSubmission

        self.stop()
        return DelayedSubmission(_Requeued(), job)


def slurm(
    jobs: Iterable[Job],
    *,
    workers: int | None = None,
    cluster: str = "slurm",
    requeues: int = 20,
    poll: float = 5.0,
    **options: Any,
) -> Iterator[Outcome]:
    """Runs every job on the cluster.

    Args:
        workers: jobs that run at a time; as many as the cluster lets if None.
        cluster: "slurm"; "local" for processes of this machine, to try it.
        requeues: how often a job that ran out of time is queued again; preemptions do not count.
        poll: seconds between two looks at the jobs.
        options: what submitit hands to sbatch: partition, account, qos, constraint, mem_per_cpu, ...
    Raises:
        ImportError: submitit is not installed.
        ValueError: the folder is none that other machines can see, sbatch is not there, or no such option.
        Stopped: it was asked to stop; jobs that wait or run are cancelled, and go on from their last save.
    """
    try:
        import submitit
    except ImportError as error:
        raise ImportError(f"engine 'slurm' needs submitit, which is not installed: {NEEDS}") from error
    jobs = list(jobs)
    if not jobs:
        return
    root = check_shared(jobs, "slurm")
    sent: dict[Any, Job] = {}
    waiting = [] if cluster == "slurm" else jobs
    try:
        for group in _groups(jobs) if cluster == "slurm" else ():
            executor = _executor(submitit, root, cluster, requeues, group[0].cell.plan.resources, workers, options)
            sent |= dict(zip(executor.map_array(_Requeued(), group), group, strict=True))
        while sent or waiting:
            stopping.check()
            while waiting and len(sent) < (workers or default_workers()):
                job = waiting.pop(0)
                executor = _executor(submitit, root, cluster, requeues, job.cell.plan.resources, workers, options)
                sent[executor.submit(_Requeued(), job)] = job
            ended = [job for job in sent if job.done()]
            for job in ended:
                yield _outcome(job, sent.pop(job))
            if not ended:
                time.sleep(poll)
    finally:
        for job in sent:  # those that have ended are not in it any more
            with contextlib.suppress(Exception):
                job.cancel(check=False)


def _groups(jobs: list[Job]) -> list[list[Job]]:
    """The jobs that ask for equal resources together, in their order."""
    groups: dict[Resources, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.cell.plan.resources, []).append(job)
    return list(groups.values())


def _executor(
    submitit: Any,
    root: str,
    cluster: str,
    requeues: int,
    asked: Resources,
    workers: int | None,
    options: dict[str, Any],
) -> Any:
    """What sends jobs that ask for these resources."""
    try:
        folder = os.path.join(root, FOLDER, "%j")
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster, slurm_max_num_timeout=requeues)
        executor.update_parameters(name="fusion_jax", **_parameters(asked, workers, cluster, options))
    except (RuntimeError, ValueError, NameError, TypeError) as error:  # no sbatch here, no such cluster or option
        hint = "; --engine_option cluster=local tries it on this machine" if isinstance(error, RuntimeError) else ""
        raise ValueError(f"engine 'slurm': {error}{hint}") from error
    return executor


def _parameters(asked: Resources, workers: int | None, cluster: str, options: dict[str, Any]) -> dict[str, Any]:
    """What submitit is told, of resources those that are asked for."""
    found: dict[str, Any] = dict(timeout_min=asked.minutes or DAY)
    if asked.cpus:
        found["cpus_per_task"] = asked.cpus
    if asked.gpus:
        found["gpus_per_node"] = asked.gpus
    if asked.memory_gb:
        found["mem_gb"] = asked.memory_gb
    if cluster == "slurm" and workers is not None:
        found["slurm_array_parallelism"] = workers
    return found | {f"slurm_{name}": value for name, value in options.items()}


def _outcome(sent: Any, job: Job) -> Outcome:
    try:
        return whole(sent.result(), job)
    except Exception as error:  # submitit's own errors, and what ended the process
        return lost(job, error, f"job {sent.job_id}")
