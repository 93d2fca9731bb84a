"""Lines with the time in front, of every cell from its beginning to its end; for the log of a job nobody watches."""

from __future__ import annotations

import time

from rich.console import Console

from fusion_jax.run.display.base import became, is_ours, named, summed, tried
from fusion_jax.run.listeners import Listener

INTERVAL = 10.0  # seconds between two lines on the epochs of one cell


class Log(Listener):
    """Prints a line when a cell begins, now and then while it trains, and when it is finished or has failed."""

    def __init__(self, console: Console):
        self.console, self.said = console, {}
        self.cells = self.waiting = self.count = self.failed = self.ours = 0

    def _print(self, text: str) -> None:
        stamped = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(text.split())}"
        self.console.print(stamped, highlight=False, markup=False, soft_wrap=True)

    def begin(self, cells, waiting):
        self.cells, self.waiting = cells, self.count + waiting  # a study may begin again, with more seeds
        self._print(f"{cells} cells, {cells - waiting} finished before")

    def progress(self, progress):
        now, name = time.monotonic(), named(progress.cell)
        if progress.epoch and now - self.said.get(progress.identity, -INTERVAL) < INTERVAL:
            return
        self.said[progress.identity] = now
        if not progress.epoch:
            self._print(f"begins: {name} seeds={len(progress.seeds)}")
            return
        score = f", validation {progress.validation[0]} {progress.validation[1]:.3f}" if progress.validation else ""
        epochs = f"epoch {progress.epoch} of {progress.cell.plan.training.epochs}"
        self._print(f"{name}: {epochs}, {progress.training} of {len(progress.seeds)} seeds train{score}")

    def tuning(self, progress):
        self._print(f"{named(progress.cell)}: {tried(progress)}")

    def done(self, outcome, problem=""):
        self.count += 1
        self.failed += outcome.result is None
        self.ours += is_ours(outcome)
        more = f"; and its failure could not be recorded: {problem}" if problem else ""
        self._print(f"{self.count} of {self.waiting}: {named(outcome.job.cell)}: {became(outcome)}{more}")

    def interrupted(self):
        self._print("interrupted; finished cells stay, run again to go on")

    def end(self):
        self._print(summed(self.ours, self.failed, self.count - self.failed - self.ours))
