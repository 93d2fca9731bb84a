"""What writers have in common: a log a trial, from the first epoch to the metrics and the config it was trained with.

A writer is a function named like its file, `writer(value, root)`, of the value of its flag and the results folder,
that returns `Trials`; so one more is one file with a class of logs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping

import numpy as np

from fusion_jax import zoo
from fusion_jax.run.engines.base import Outcome
from fusion_jax.run.listeners import Listener
from fusion_jax.run.progress import Progress
from fusion_jax.study import Cell, flatten

Number = bool | str | int | float


@dataclasses.dataclass(frozen=True)
class Trial:
    """A cell and a seed."""

    identity: str
    cell: Cell
    seed: int

    @property
    def group(self) -> str:
        """A name of the cell that can be a folder's: data set, label, placement and the identity's first characters."""
        plan = self.cell.plan
        placement = "control" if plan.control.name else plan.model.placement
        words = f"{zoo.short(plan.data.name)}-{self.cell.label}-{placement}-{self.identity[:8]}"
        return re.sub(r"[^\w.=+-]+", "_", words)

    @property
    def config(self) -> dict[str, Number]:
        """{dotted key: value} of the cell's config and the seed; what is no number is text."""
        flat = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in flatten(self.cell.config).items()}
        return {**flat, "seeds": self.cell.seeds, "seed": self.seed}


class Log:
    """Where one trial is written; a writer says how."""

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Finite numbers of one epoch, of train_loss, val_loss and val_score."""
        raise NotImplementedError

    def flush(self) -> None:
        """A chunk of epochs is whole."""

    def final(self, metrics: Mapping[str, float]) -> None:
        """The metrics of a finished trial, {"test/accuracy": value, ...}."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing more will come."""


class Trials(Listener):
    """Opens a log when a trial begins, writes its epochs at the end of every chunk, its metrics, and closes it."""

    name = ""

    def __init__(self, name: str, open: Callable[[Trial], Log]):
        self.name, self.open, self.logs = name, open, {}

    def progress(self, progress: Progress) -> None:
        if progress.identity not in self.logs:
            trials = [Trial(progress.identity, progress.cell, seed) for seed in progress.seeds]
            self.logs[progress.identity] = {trial.seed: self.open(trial) for trial in trials}
        if not progress.history:
            return
        length = next(iter(progress.history.values())).shape[1]
        for i, seed in enumerate(progress.seeds):
            log = self.logs[progress.identity][seed]
            for t in range(length):
                values = {name: float(history[i, t]) for name, history in progress.history.items()}
                if finite := {name: value for name, value in values.items() if np.isfinite(value)}:
                    log.scalars(progress.epoch - length + t, finite)
            log.flush()

    def done(self, outcome: Outcome, problem: str = "") -> None:
        del problem
        logs = self.logs.pop(outcome.job.identity, {})
        if outcome.result is not None and logs:
            table = outcome.job.store.table(outcome.job.identity, "metrics")
            for seed, log in logs.items():
                own = table[(table.seed == seed) & np.isfinite(table.value)]
                log.final({f"{row.part}/{row.metric}": float(row.value) for row in own.itertuples()})
        for log in logs.values():
            log.close()

    def close(self) -> None:
        while self.logs:
            _, logs = self.logs.popitem()
            for log in logs.values():
                log.close()
