"""How far a cell is, as a record for whoever listens while it trains: a terminal, a writer, another process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from fusion_jax import tasks
from fusion_jax.data.base import Dataset
from fusion_jax.study import Cell
from fusion_jax.training.prepare import split_of


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a cell is: when it begins, and at the end of every chunk of epochs. It can be pickled.

    Attributes:
        identity, cell: which one.
        seeds: those that are trained now, in the order of the rows of `history`.
        epoch: epochs so far.
        history: {name: float [S, T]} of the last T epochs, NaN after a seed has stopped; {} when the cell begins.
        validation: what the best validation scores so far are, a name and their mean over the seeds; None before any.
    """

    identity: str
    cell: Cell
    seeds: tuple[int, ...] = ()
    epoch: int = 0
    history: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    validation: tuple[str, float] | None = None

    @property
    def training(self) -> int:
        """How many seeds have not stopped."""
        return int((~np.isnan(self.history["train_loss"][:, -1])).sum()) if self.history else len(self.seeds)


@dataclasses.dataclass(frozen=True)
class TuningProgress:
    """How far the tuning of a cell is, which comes before the cell is trained: when it begins, and behind every batch.

    Attributes:
        identity, cell: which one, as it is before its values are chosen.
        done, trials: how many trials are done, of how many.
        best: name and value of the best validation score so far; None before any.
    """

    identity: str
    cell: Cell
    done: int
    trials: int
    best: tuple[str, float] | None = None


def tuning_name(cell: Cell) -> str:
    """The identity that a tuned cell had before its values were chosen; "" of one that was not tuned."""
    return cell.tuned.get("name", "")


Tell = Callable[[Progress | TuningProgress], None]


class Told:
    """What `run_cell` calls with the history so far, as records: every epoch once, those of an earlier attempt too."""

    def __init__(self, tell: Tell, identity: str, cell: Cell, data: Dataset, seeds: Sequence[int]):
        self.tell, self.data, self.chunks = tell, data, 0
        self.last = Progress(identity, cell, tuple(seeds))
        self.best = np.full(len(seeds), -np.inf)
        tell(self.last)

    def __call__(self, history: list[dict[str, np.ndarray]]) -> None:
        new, self.chunks = history[self.chunks :], len(history)
        chunk = {name: np.concatenate([part[name] for part in new], axis=1) for name in new[0]}
        epoch = self.last.epoch + chunk["train_loss"].shape[1]
        self.last = dataclasses.replace(self.last, epoch=epoch, history=chunk, validation=self._validation(chunk))
        self.tell(self.last)

    def _validation(self, chunk: dict[str, np.ndarray]) -> tuple[str, float] | None:
        """The best scores so far in words of the task; the last losses where the score says nothing of rows."""
        plan, losses = self.last.cell.plan, chunk["val_loss"]
        if plan.training.select == "last":
            seen = losses[:, -1][np.isfinite(losses[:, -1])]
            return ("loss", float(seen.mean())) if len(seen) else None
        self.best = np.fmax(self.best, np.fmax.reduce(chunk["val_score"], axis=1, initial=-np.inf))
        own = tasks.of(self.data.target) if plan.training.select == "score" else tasks.base.Task()
        draw = dict(per_seed=plan.per_seed, protocol=plan.protocol)
        rows = [len(split_of(self.data, seed, **draw).val) for seed in self.last.seeds]
        found = [own.validation(float(b), n) for b, n in zip(self.best, rows, strict=True) if np.isfinite(b)]
        return (found[0][0], float(np.mean([value for _, value in found]))) if found else None
