"""F1 of class 1 of two; and the F1 of every class, which the averages share."""

from __future__ import annotations

import dataclasses

import numpy as np

from fusion_jax.metrics.base import Metric, Scored


@dataclasses.dataclass(frozen=True)
class PerClass:
    """F1_c = 2 hits_c / (true_c + given_c) of every class, 0 where it is neither true nor given.

    Attributes:
        true, given: bool [N, C], which classes a row has and which it is given.
        f1: [C].
        support: int [C], how many rows have the class.
        occurs: bool [C], whether some row has it or is given it.
    """

    true: np.ndarray
    given: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    occurs: np.ndarray

    def slope(self) -> np.ndarray:
        """[N, C], the derivative of each class's F1 by each row's weight."""
        both = np.where(self.occurs, self.true.sum(0) + self.given.sum(0), 1)
        return (2 * (self.true & self.given) - self.f1 * (self.true.astype(int) + self.given)) / both


def per_class(true: np.ndarray, given: np.ndarray) -> PerClass:
    """Of bool [N, C] each."""
    support, both = true.sum(0), true.sum(0) + given.sum(0)
    occurs = both > 0
    return PerClass(true, given, 2 * (true & given).sum(0) / np.where(occurs, both, 1), support, occurs)


def of_classes(rows: Scored) -> PerClass:
    """Of classification: every row has one class and is given one, the first of equal logits."""
    classes = np.arange(rows.prediction.shape[1])
    labels, guess = np.asarray(rows.target.labels), np.asarray(rows.prediction).argmax(1)
    return per_class(labels[:, None] == classes, guess[:, None] == classes)


def of_labels(rows: Scored) -> PerClass:
    """Of several labels a row: it is given those whose logit is above 0."""
    return per_class(np.asarray(rows.target.labels), np.asarray(rows.prediction) > 0)


def of_task(rows: Scored) -> PerClass:
    """Of rows with one class [N] or several labels [N, C] each."""
    return of_classes(rows) if np.ndim(rows.target.labels) == 1 else of_labels(rows)


class F1(Metric):
    """2 hits / (true + given) of class 1; None where there are more than two."""

    heading = "F1 (class 1)"
    tasks = ("classes",)
    fraction = True
    rank = 10

    def __call__(self, rows):
        return float(of_classes(rows).f1[1]) if rows.prediction.shape[1] == 2 else None

    def influence(self, rows):
        return len(rows.prediction) * of_classes(rows).slope()[:, 1] if rows.prediction.shape[1] == 2 else None
