"""Several cells at a time, in threads of this process.

Compilation and small steps leave cores idle, so that on a CPU two cells at a time finish sooner. One at a time is of
use too: the main thread, where signals arrive, then waits in Python, while the program of a cell runs elsewhere.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from fusion_jax.run.engines.base import Job, Outcome, run_job
from fusion_jax.run.workers import default_workers
from fusion_jax.training.stopping import Stopped


def threads(jobs: Iterable[Job], *, workers: int | None = None) -> Iterator[Outcome]:
    """Runs the jobs, at most `workers` at a time; as many as suit the platform if None."""
    workers = workers or default_workers()
    queue, running = iter(jobs), set()
    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        while True:
            while len(running) < workers and (job := next(queue, None)):
                running.add(pool.submit(run_job, job))
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    except Stopped:
        wait(running)  # they save, too
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
