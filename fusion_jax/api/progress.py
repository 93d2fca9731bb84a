"""How far a study is: one line that changes in a notebook or a terminal, a line a row anywhere else."""

from __future__ import annotations

import sys
import time

from fusion_jax import zoo
from fusion_jax.data import Dataset
from fusion_jax.results.measured import primary_values
from fusion_jax.run.engines.base import Outcome


class Progress:
    """What is said of a study that runs.

    Attributes:
        cells: how many rows it has.
        failed: of every row that failed, its name and why.
    """

    def __init__(self, place: str, shown: bool):
        self.place, self.shown, self.start = place, shown, time.perf_counter()
        self.cells = self.waiting = self.finished = self.width = 0
        self.failed: list[str] = []
        self.one_line = sys.stdout.isatty() or "ipykernel" in sys.modules

    def loaded(self, data: Dataset) -> None:
        """What became of the caller's own tables, where the data set was made from some."""
        if data.conversion is not None:
            self._line(data.conversion.text(), last=True)

    def begin(self, cells: int, waiting: int) -> None:
        self.cells, self.waiting = cells, waiting
        self._line(f"{cells} rows, {cells - waiting} finished before; results: {self.place}", last=True)

    def done(self, outcome: Outcome, problem: str) -> None:
        cell = outcome.job.cell
        self.finished += 1
        where = "" if cell.plan.control.name else f", {cell.plan.model.placement}"
        name = f"{cell.label}{where}, {zoo.short(cell.plan.data.name)}"
        said = f"[{self.finished}/{self.waiting}] {name}"
        if outcome.result is None:
            self.failed.append(f"{name}: {outcome.error}" + (f" (not recorded: {problem})" if problem else ""))
            self._line(f"{said}: failed: {outcome.error.splitlines()[0]}", last=True)
            return
        metric, values = primary_values(outcome.job.store, outcome.job.identity)
        self._line(f"{said}: {metric} {values.mean():.3f}")

    def end(self) -> None:
        if self.waiting:
            seconds = time.perf_counter() - self.start
            trained = self.finished - len(self.failed)
            self._line(f"{trained} rows trained, {len(self.failed)} failed, {seconds:.0f} s", last=True)

    def _line(self, text: str, last: bool = False) -> None:
        """In the place of the line before, where there is one and it was not its last text."""
        if not self.shown:
            return
        if not self.one_line:
            print(text, flush=True)
            return
        print("\r" + text.ljust(self.width), end="\n" if last else "", flush=True)
        self.width = 0 if last else len(text)
