"""The contract of a control, and the one thing most share: C chosen by cross-validation on training nodes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from fusion_jax.types import Info


class Control:
    """A row fitted on the host, without gradients, for one seed at a time.

    A subclass defines `info`, keyword options in `__init__`, and `predict`.

    Attributes:
        probabilities: whether the softmax of its scores is meant as a distribution, so that it can be calibrated.
    """

    info: ClassVar[Info]
    probabilities: ClassVar[bool] = True

    def predict(self, x: np.ndarray, labels: np.ndarray, split, graph, classes: int, seed: int) -> np.ndarray:
        """Scores [N, C] whose softmax is the predicted distribution, for all nodes.

        Args:
            x: float [N, sum d_m], standardised, missing modalities 0.
            labels: int [N], -1 where hidden (every node outside training).
            split: the seed's `fusion_jax.data.base.Split`.
            graph: the `Graph` of the run, or None.
            classes: C.
            seed: for solvers that draw.
        """
        raise NotImplementedError


def cross_validated(estimator, grid: dict, x: np.ndarray, y: np.ndarray, seed: int):
    """The estimator fitted with the best setting of `grid` under stratified cross-validation (at most 5 folds).

    With one label a class no fold can be made: the middle of the grid is taken.
    """
    folds = min(5, int(np.bincount(y)[np.unique(y)].min()))
    if folds < 2:
        return estimator.set_params(**{k: v[len(v) // 2] for k, v in grid.items()}).fit(x, y)
    cv = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return GridSearchCV(estimator, grid, cv=cv).fit(x, y).best_estimator_


def spread(scores: np.ndarray, seen: np.ndarray, classes: int) -> np.ndarray:
    """Log-probabilities of the classes seen in training, put into all C columns; a class not seen gets 1e-12."""
    full = np.full((len(scores), classes), np.log(1e-12))
    full[:, seen] = scores
    return full
