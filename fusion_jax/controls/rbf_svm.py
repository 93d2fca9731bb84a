"""A support vector machine with an RBF kernel on the concatenation, C cross-validated on training nodes, or given."""

from sklearn.svm import SVC

from fusion_jax.controls.base import Control, margins
from fusion_jax.records import Info


class RbfSvm(Control):
    """Pairwise SVMs, kernel exp(-gamma |x - x'|^2), gamma = 1 / (d var x); scores are the one-vs-rest decisions.

    Chosen on the training rows: C in 1e-2 ... 1e2, by at most 5-fold cross-validated accuracy. Fixed: gamma.

    The scores are not probabilities (no Platt scaling: it needs more labels than these tables have), so its
    log-loss and calibration mean nothing; accuracy, F1 and AUC do.

    Args:
        c: C > 0 beforehand, one fit in the place of 26; None for cross-validation.
    Raises:
        ValueError: a C that is not above 0.
    """

    info = Info("Folklore: RBF SVM on the concatenation", cost="O(N_train^2 sum d)")
    probabilities = False

    def __init__(self, *, c: float | None = None, validation_labels: bool = False):
        super().__init__(validation_labels=validation_labels)
        if c is not None and not c > 0:
            raise ValueError(f"control 'rbf_svm': c={c}, expected a number above 0")
        self.grid = {"C": [0.01, 0.1, 1.0, 10.0, 100.0] if c is None else [c]}

    def predict(self, x, labels, split, graph, classes, seed):
        del graph
        return margins(SVC(kernel="rbf"), self.grid, x, labels, split.train, classes, seed)
