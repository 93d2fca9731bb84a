"""Cells as tasks of a Ray cluster (`pip install 'fusion_jax[ray]'`).

    ray start --head                                  # on one machine
    ray start --address=HEAD:6379                     # on each of the others
    python -m experiments.sweep --config=STUDY --workdir=/shared/results --engine=ray --engine_option address=auto
    ray stop                                          # on each, in the end

Every cell gets what its `config.resources` ask for, a processor where they say nothing, and starts as soon as some
machine has that free. A cell whose machine is lost is begun again on another one, from its last save. How far all of
them are is shown where the command runs. Without an address a cluster of this machine alone is started and stopped. The
results folder has to be one that all machines see.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from fusion_jax.plan import Resources
from fusion_jax.run.engines._tasks import Task, check_shared, lost, whole
from fusion_jax.run.engines.base import Job, Outcome
from fusion_jax.training import stopping

NEEDS = "pip install 'fusion_jax[ray]'"


class _Heard:
    """Where the tasks say how far they are, until somebody asks."""

    def __init__(self) -> None:
        self.held: list[tuple[int, Any]] = []

    def put(self, number: int, progress: Any) -> None:
        self.held.append((number, progress))

    def take(self) -> list[tuple[int, Any]]:
        held, self.held = self.held, []
        return held


def _run(number: int, job: Job, data: Any, heard: Any) -> Outcome:
    """One job, on the machine that has it."""

    def tell(progress: Any) -> None:
        heard.put.remote(number, progress)

    return Task()(dataclasses.replace(job, data=data), tell)


def ray(
    jobs: Iterable[Job],
    *,
    workers: int | None = None,
    address: str = "",
    retries: int = 5,
    poll: float = 0.5,
) -> Iterator[Outcome]:
    """Runs every job on the cluster.

    Args:
        workers: jobs that run at a time; as many as the cluster has room for if None.
        address: of a cluster that runs, "auto" for the one that this machine belongs to; "" starts one.
        retries: how often a job is begun again whose machine or process was lost.
        poll: seconds between two looks at the jobs.
    Raises:
        ImportError: Ray is not installed.
        ValueError: there is no cluster at the address; no machine of it can have what a cell asks for; or the folder is
            none that other machines can see.
        Stopped: it was asked to stop, which the jobs do behind a save.
    """
    try:
        import ray as cluster
    except ImportError as error:
        raise ImportError(f"engine 'ray' needs Ray, which is not installed: {NEEDS}") from error
    jobs = list(jobs)
    if not jobs:
        return
    check_shared(jobs, "ray")
    own, obeyed = not cluster.is_initialized(), signal.getsignal(signal.SIGTERM)
    try:
        if own:
            quiet = {} if address else dict(include_dashboard=False)
            with warnings.catch_warnings():  # what it forks runs no JAX
                warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
                cluster.init(address=address or "local", log_to_driver=False, logging_level=logging.WARNING, **quiet)
    except Exception as error:  # it is a plain one where a machine does not answer in time
        raise ValueError(
            f"engine 'ray': no cluster at {address or 'this machine'!r} ({' '.join(str(error).split())[:300]})"
        ) from error
    finally:
        _hear_again(obeyed)
    running: dict[Any, int] = {}
    try:
        _check_room(cluster, jobs)
        heard = cluster.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=_here(cluster))(_Heard).remote()
        data: dict[int, Any] = {}  # each data set is sent once
        waiting = list(range(len(jobs)))
        while running or waiting:
            stopping.check()
            while waiting and (workers is None or len(running) < workers):
                number = waiting.pop(0)
                job = jobs[number]
                if id(job.data) not in data:
                    data[id(job.data)] = cluster.put(job.data)
                task = cluster.remote(max_retries=retries, **_asked(job.cell.plan.resources))(_run)
                sent = dataclasses.replace(job, data=ValueError("sent by itself"))
                running[task.remote(number, sent, data[id(job.data)], heard)] = number
            ended, _ = cluster.wait(list(running), timeout=poll)
            for number, progress in _said(cluster, heard):
                if jobs[number].tell is not None:
                    jobs[number].tell(progress)
            for one in ended:
                yield _outcome(cluster, one, jobs[running.pop(one)])
    except stopping.Stopped:
        for one in running:
            cluster.cancel(one)
        cluster.wait(list(running), num_returns=len(running), timeout=60)  # they save, too
        raise
    finally:
        with contextlib.suppress(Exception):
            for one in running:
                cluster.cancel(one)
        if own:
            cluster.shutdown()


def _hear_again(handler: Any) -> None:
    """Gives SIGTERM back to its handler: Ray takes it for itself when it starts, and ends without a save."""
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(signal.SIGTERM, handler)


def _said(cluster: Any, heard: Any) -> list[tuple[int, Any]]:
    """How far the tasks are; nothing while the machine that has heard it is lost and another takes over.

    What is shown is no result: it must not end what trains.
    """
    try:
        return cluster.get(heard.take.remote())
    except cluster.exceptions.RayError:
        return []


def _here(cluster: Any) -> Any:
    """On the machine that this runs on, while it is there."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(cluster.get_runtime_context().get_node_id(), soft=True)


def _asked(resources: Resources) -> dict[str, Any]:
    found: dict[str, Any] = dict(num_cpus=resources.cpus or 1, num_gpus=resources.gpus)
    return found | (dict(memory=int(resources.memory_gb * 10**9)) if resources.memory_gb else {})


def _check_room(cluster: Any, jobs: list[Job]) -> None:
    """Raises ValueError where a job would wait for ever."""
    nodes = [node["Resources"] for node in cluster.nodes() if node["Alive"]]
    for job in jobs:
        asked = _asked(job.cell.plan.resources)
        need = dict(CPU=asked["num_cpus"], GPU=asked["num_gpus"], memory=asked.get("memory", 0))
        if not any(all(node.get(name, 0) >= count for name, count in need.items()) for node in nodes):
            has = "; ".join(", ".join(f"{name} {node.get(name, 0):g}" for name in need) for node in nodes)
            wants = ", ".join(f"{name} {count:g}" for name, count in need.items())
            raise ValueError(f"engine 'ray': {job.cell.label} asks for {wants}; no machine has that ({has})")


def _outcome(cluster: Any, ended: Any, job: Job) -> Outcome:
    try:
        return whole(cluster.get(ended), job)
    except Exception as error:  # Ray's own errors, and what ended the process
        return lost(job, error, "its Ray task")
