"""One cell after another, in this process."""

from collections.abc import Iterable, Iterator

from fusion_jax.run.engines.base import Job, Outcome, run_job


def serial(jobs: Iterable[Job], *, workers: int | None = None) -> Iterator[Outcome]:
    """Runs the jobs in their order; `workers` is 1 whatever is asked for."""
    del workers
    for job in jobs:
        yield run_job(job)
