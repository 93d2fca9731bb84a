"""Logistic regression on the concatenation, C by cross-validation on the training nodes, or given."""

from sklearn import linear_model

from fusion_jax.controls.base import Control, margins
from fusion_jax.records import Info


class LogisticRegression(Control):
    """p = softmax(W x + b), l2 penalty |W|^2 / (2 C) beside the summed loss, C in 1e-4 ... 1e2 by accuracy.

    Chosen on the training rows: C, by at most 5-fold cross-validation. Fixed: the penalty, its weight on all
    modalities alike, at most 2,000 iterations.

    Args:
        c: C > 0 beforehand, one fit in the place of 36; None for cross-validation.
    Raises:
        ValueError: a C that is not above 0.
    """

    info = Info("Folklore: regularised linear classifier on the concatenation", cost="O(N sum d)")

    def __init__(self, *, c: float | None = None, validation_labels: bool = False):
        super().__init__(validation_labels=validation_labels)
        if c is not None and not c > 0:
            raise ValueError(f"control 'logistic_regression': c={c}, expected a number above 0")
        self.grid = {"C": [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0] if c is None else [c]}

    def predict(self, x, labels, split, graph, classes, seed):
        del graph
        estimator = linear_model.LogisticRegression(max_iter=2000)
        return margins(estimator, self.grid, x, labels, split.train, classes, seed)
