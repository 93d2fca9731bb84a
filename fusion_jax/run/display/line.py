"""One line that changes in its place, for a notebook; failures stay, and what was done in the end."""

from __future__ import annotations

import time

from rich.console import Console

from fusion_jax.run.display.base import became, is_ours, named, summed, tried
from fusion_jax.run.listeners import Listener


class Line(Listener):
    """Writes over its own line: the last finished cell, or the epoch of one that trains."""

    def __init__(self, console: Console):
        self.file, self.start = console.file, time.perf_counter()
        self.cells = self.waiting = self.count = self.failed = self.ours = self.width = 0

    def begin(self, cells, waiting):
        self.cells, self.waiting = cells, self.count + waiting
        self._write(f"{cells} cells, {cells - waiting} finished before", stays=True)

    def progress(self, progress):
        self._write(f"[{self.count}/{self.waiting}] {named(progress.cell)}: epoch {progress.epoch}")

    def tuning(self, progress):
        self._write(f"[{self.count}/{self.waiting}] {named(progress.cell)}: {tried(progress)}")

    def done(self, outcome, problem=""):
        self.count += 1
        failed = outcome.result is None
        self.failed += failed
        self.ours += is_ours(outcome)
        more = f" (and its failure could not be recorded: {problem})" if problem else ""
        text = f"[{self.count}/{self.waiting}] {named(outcome.job.cell)}: {became(outcome)}{more}"
        self._write(" ".join(text.split()), stays=failed)

    def interrupted(self):
        whole = self.cells - self.waiting + self.count - self.failed
        self._write(
            f"interrupted; {whole} of {self.cells} cells are finished and stay, call again to go on", stays=True
        )

    def end(self):
        if self.waiting:
            seconds, others = time.perf_counter() - self.start, self.count - self.failed - self.ours
            self._write(f"{summed(self.ours, self.failed, others)}, {seconds:.0f} s", stays=True)

    def _write(self, text: str, stays: bool = False) -> None:
        print("\r" + text.ljust(self.width), end="\n" if stays else "", file=self.file, flush=True)
        self.width = 0 if stays else len(text)
