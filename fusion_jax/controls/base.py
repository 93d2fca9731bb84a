"""The contract of a control, and what most share: one unit for all features, C chosen by cross-validation."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from fusion_jax.records import Info


class Control:
    """A row fitted on the host, without gradients, for one seed at a time.

    A subclass defines `info`, keyword options in `__init__`, and `predict`; its docstring says what is chosen on the
    training rows and what is fixed.

    Args:
        validation_labels: whether the labels of the validation rows train it too. A model uses them to keep an epoch;
            a control that keeps nothing would leave them unused, and where validation rows are many its row says
            little. Such a row is labelled, and has no validation scores.
    Attributes:
        probabilities: whether the softmax of its scores is meant as a distribution, so that it can be calibrated.
    """

    info: ClassVar[Info]
    probabilities: ClassVar[bool] = True
    validation_labels: bool = False

    def __init__(self, *, validation_labels: bool = False):
        self.validation_labels = validation_labels

    def predict(self, x: np.ndarray, labels: np.ndarray, split, graph, classes: int, seed: int) -> np.ndarray:
        """Finite scores [N, C] whose softmax is the predicted distribution, for all nodes.

        Args:
            x: float [N, sum d_m], standardised as `data.scale` says. A missing modality is the mean of its training
                rows, and nothing else says that it is missing: models are told (their mask), controls are not.
            labels: int [N], -1 where hidden (every node outside training).
            split: the seed's `fusion_jax.data.base.Split`; with `validation_labels` its training part holds the
                validation rows too, and its validation part is empty.
            graph: the `Graph` of the run, or None.
            classes: C.
            seed: for solvers that draw.
        """
        raise NotImplementedError


def in_one_unit(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """x [N, d] with mean 0 a column and mean variance 1 over the columns, on the given rows.

    Penalties and kernel widths are numbers in the unit of x; without this a table in metres and one in nanometres,
    or one with another origin, would have other results where `data.scale` is "none". As they are without spread.
    """
    x = np.asarray(x, np.float64)
    shift, variance = x[rows].mean(0), x[rows].var(0).mean()
    return (x - shift) / np.sqrt(variance if variance > 0 else 1.0)


def cross_validated(estimator, grid: dict, x: np.ndarray, y: np.ndarray, seed: int):
    """The estimator fitted with the best setting of `grid` under stratified cross-validation (at most 5 folds).

    Of equally accurate settings the first is taken. With one label of a class no fold can be made: the middle of the
    grid is taken. A grid of one setting is that setting.
    """
    folds = min(5, int(np.bincount(y)[np.unique(y)].min()))
    if folds < 2 or all(len(values) == 1 for values in grid.values()):
        return estimator.set_params(**{k: v[len(v) // 2] for k, v in grid.items()}).fit(x, y)
    cv = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return GridSearchCV(estimator, grid, cv=cv).fit(x, y).best_estimator_


def margins(estimator, grid: dict, x: np.ndarray, labels: np.ndarray, train: np.ndarray, classes: int, seed: int):
    """Scores [N, C]: the decision function of the cross-validated estimator, on x in one unit.

    Two classes have one signed distance d, and get -d/2 and d/2. Where training has a single class there is nothing
    to fit: all rows are of that class.
    """
    seen = np.unique(labels[train])
    if len(seen) == 1:
        return spread(np.zeros((len(x), 1)), seen, classes)
    x = in_one_unit(x, train)
    scores = cross_validated(estimator, grid, x[train], labels[train], seed).decision_function(x)
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1) / 2
    return spread(scores, seen, classes)


def spread(scores: np.ndarray, seen: np.ndarray, classes: int) -> np.ndarray:
    """Scores of the classes seen in training, put into all C columns; a class not seen is 1e-12 times as likely as
    the row's least likely one."""
    full = np.repeat(scores.min(1, keepdims=True) + np.log(1e-12), classes, axis=1)
    full[:, seen] = scores
    return full
