"""Predictions of some rows by the seeds of one cell, and the table of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fusion_jax import tasks
from fusion_jax.tasks.base import Task

SHOWN = 10  # classes in a summary


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What each seed's model says of n rows, and what they say together.

    Attributes:
        ids: [n], of the nodes or graphs; of links the two nodes, "a, b".
        seeds: S of them.
        each: float [S, n, C], as models predict: logits of classes and labels, values in their own units (float64),
            the log-risk of survival.
        uncertainty: float [S, n] in (0, 1], where the model states it; else None.
        about: kind, level and number of outputs of the target (`Task.about`).
        names: of the classes, or ().
    """

    ids: np.ndarray
    seeds: tuple[int, ...]
    each: np.ndarray
    uncertainty: np.ndarray | None
    about: Mapping[str, Any]
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def probabilities(self) -> np.ndarray:
        """[n, C], the mean over the seeds of what `Task.told` makes of each prediction.

        Raises:
            ValueError: the target has no probabilities.
        """
        return self.each_probability.mean(0)

    @property
    def each_probability(self) -> np.ndarray:
        """[S, n, C], the same of each seed. Raises as `probabilities`."""
        task = tasks.of(self.about["kind"])
        if type(task).told is Task.told:
            raise ValueError(f"a target of {self.about['kind']!r} has no probabilities: read `each`, or `frame()`")
        return task.told(self.each)

    def columns(self) -> dict[str, np.ndarray]:
        """{column: [n]}, over the seeds: what each task answers; of several targets "colour: prediction"."""
        found = {}
        for name, part, where in tasks.of(self.about["kind"]).parts_of(self.about):
            task = tasks.of(part["kind"])
            own = task.answers(task.told(self.each[..., where]), self.names)
            found |= {f"{name}: {column}" if name else column: value for column, value in own.items()}
        if self.uncertainty is not None:
            found["uncertainty"] = self.uncertainty.mean(0)
        return found

    def frame(self) -> pd.DataFrame:
        """A line a row: id, what is predicted, its probabilities or spread, uncertainty where it is stated."""
        return pd.DataFrame({"id": self.ids} | self.columns())

    def summary(self) -> str:
        """In a line: how many rows by how many seeds; of classes the share of each and the mean probability of what is
        predicted, of values their mean and range."""
        seeds = f"{len(self.seeds)} seed{'s' if len(self.seeds) > 1 else ''}"
        text = f"{len(self):,} row{'' if len(self) == 1 else 's'} predicted by {seeds}"
        kind = self.about["kind"]
        if not len(self) or kind not in ("classes", "values"):
            return text
        if kind == "values":
            mean = self.each.mean(0)
            return f"{text}: mean {mean.mean():.4g}, from {mean.min():.4g} to {mean.max():.4g}"
        p = self.probabilities
        counts = np.bincount(p.argmax(1), minlength=p.shape[1])
        order = np.argsort(-counts, kind="stable")
        names = self.names or tuple(map(str, range(len(counts))))
        shares = [f"{names[c]} {counts[c]:,} ({counts[c] / len(self):.0%})" for c in order[:SHOWN]]
        more = f", {len(order) - SHOWN} more" if len(order) > SHOWN else ""
        return f"{text}: {', '.join(shares)}{more}; mean confidence {p.max(1).mean():.2f}"
