"""One line a finished cell, and what was done in the end; for files, pipes and terminals without a cursor."""

from __future__ import annotations

import time

from rich.console import Console

from fusion_jax.run.display.base import became, described, is_ours, summed
from fusion_jax.run.listeners import Listener


class Plain(Listener):
    """Prints a line when the study begins, one a finished or failed cell (red), and one at the end."""

    def __init__(self, console: Console):
        self.console, self.start = console, time.perf_counter()
        self.cells = self.waiting = self.count = self.failed = self.ours = 0

    def begin(self, cells, waiting):
        self.cells, self.waiting = cells, self.count + waiting  # a study may begin again, with more seeds
        self.console.print(f"{cells} cells, {cells - waiting} finished before")

    def done(self, outcome, problem=""):
        self.count += 1
        self.failed += outcome.result is None
        self.ours += is_ours(outcome)
        style = "red" if outcome.result is None else None
        line = f"[{self.count:>3}/{self.waiting}] {described(outcome.job.cell)} {became(outcome)}"
        self.console.print(line, style=style, highlight=False, markup=False)
        if problem:
            self.console.print(f"and its failure could not be recorded: {problem}", style="red", markup=False)

    def interrupted(self):
        whole = self.cells - self.waiting + self.count - self.failed
        self.console.print(f"interrupted; {whole} of {self.cells} cells are finished and stay, run again to go on")

    def end(self):
        if self.waiting:
            seconds, others = time.perf_counter() - self.start, self.count - self.failed - self.ours
            self.console.print(f"{summed(self.ours, self.failed, others)}, {seconds:.0f} s")
