"""Logistic regression on the concatenation, C by cross-validation on the training nodes."""

import numpy as np
from sklearn import linear_model

from fusion_jax.controls.base import Control, cross_validated, spread
from fusion_jax.types import Info


class LogisticRegression(Control):
    """p = softmax(W x + b), l2 penalty 1 / C, C in 1e-4 ... 1e2 by cross-validated accuracy."""

    info = Info("Folklore: regularised linear classifier on the concatenation", cost="O(N sum d)", needs=("labels",))

    def predict(self, x, labels, split, graph, classes, seed):
        del graph
        model = cross_validated(
            linear_model.LogisticRegression(max_iter=2000), {"C": [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0]},
            x[split.train], labels[split.train], seed,
        )  # fmt: skip
        return spread(np.maximum(model.predict_log_proba(x), np.log(1e-12)), model.classes_, classes)
