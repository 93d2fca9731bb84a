"""Writes into a study's folder how far each cell is, for whoever follows it from another process (`results.serve`)."""

from __future__ import annotations

import os
import time
from typing import Any

from fusion_jax.results import running
from fusion_jax.results.store import Store
from fusion_jax.run.listeners import Listener
from fusion_jax.run.progress import tuning_name

EVERY = 1.0  # seconds between two writes at least, but for a cell that begins or ends


class Followed(Listener):
    """Keeps `results.running` up to date while a study runs; object storage, which has no lock, gets nothing."""

    def __init__(self, store: Store):
        self.store, self.cells, self.last = store, {}, -EVERY
        self.able = "://" not in os.fspath(store.root)

    def progress(self, progress):
        about: dict[str, Any] = dict(epoch=progress.epoch, validation=progress.validation)
        if not progress.cell.plan.control.name:
            about["epochs"] = progress.cell.plan.training.epochs
        self._is({progress.identity, tuning_name(progress.cell)}, about)  # it is listed under one of them

    def tuning(self, progress):
        self._is({progress.identity}, dict(trials=[progress.done, progress.trials], validation=progress.best))

    def _is(self, names: set[str], about: dict[str, Any]) -> None:
        names = names - {""}
        begins = not names <= self.cells.keys()
        self.cells |= dict.fromkeys(names, about)
        if begins or time.monotonic() - self.last >= EVERY:
            self._write()

    def done(self, outcome, problem=""):
        del problem
        names = {outcome.job.identity, tuning_name(outcome.job.cell)} & self.cells.keys()
        for name in names:
            del self.cells[name]
        if names:
            self._write()

    def close(self):
        if self.able:
            running.clear(self.store)

    def _write(self) -> None:
        self.last = time.monotonic()
        if self.able:
            running.write(self.store, self.cells)
