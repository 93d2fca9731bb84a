"""A support vector machine with an RBF kernel on the concatenation, C by cross-validation on the training nodes."""

import numpy as np
from sklearn.svm import SVC

from fusion_jax.controls.base import Control, cross_validated, spread
from fusion_jax.types import Info


class RbfSvm(Control):
    """Pairwise SVMs, kernel exp(-gamma |x - x'|^2), gamma = 1 / (d var x); scores are the one-vs-rest decisions.

    The scores are not probabilities (no Platt scaling: it needs more labels than these tables have), so its
    log-loss and calibration mean nothing; accuracy, F1 and AUC do.
    """

    info = Info("Folklore: RBF SVM on the concatenation", cost="O(N_train^2 sum d)", needs=("labels",))
    probabilities = False

    def predict(self, x, labels, split, graph, classes, seed):
        del graph
        model = cross_validated(
            SVC(kernel="rbf"), {"C": [0.01, 0.1, 1.0, 10.0, 100.0]}, x[split.train], labels[split.train], seed
        )
        scores = model.decision_function(x)
        if scores.ndim == 1:  # two classes: one signed distance
            scores = np.stack([-scores, scores], axis=1) / 2
        return spread(scores, model.classes_, classes)
