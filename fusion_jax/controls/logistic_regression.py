"""Logistic regression on the concatenation, C by cross-validation on the training nodes."""

from sklearn import linear_model

from fusion_jax.controls.base import Control, margins
from fusion_jax.records import Info


class LogisticRegression(Control):
    """p = softmax(W x + b), l2 penalty |W|^2 / (2 C) beside the summed loss, C in 1e-4 ... 1e2 by accuracy.

    Chosen on the training rows: C, by at most 5-fold cross-validation. Fixed: the penalty, its weight on all
    modalities alike, at most 2,000 iterations.
    """

    info = Info("Folklore: regularised linear classifier on the concatenation", cost="O(N sum d)")

    def predict(self, x, labels, split, graph, classes, seed):
        del graph
        estimator = linear_model.LogisticRegression(max_iter=2000)
        grid = {"C": [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0]}
        return margins(estimator, grid, x, labels, split.train, classes, seed)
