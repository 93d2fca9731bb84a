"""A random forest on the concatenation: trees of bootstrapped training nodes, their shares averaged.

Reference: Breiman, "Random Forests", Machine Learning 2001.
"""

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from fusion_jax.controls.base import Control, in_one_unit
from fusion_jax.records import Info


class RandomForest(Control):
    """p = (sum over trees of the leaf's class shares + 1 / C) / (trees + 1); scores are log p.

    The 1 / C is one more tree that knows nothing, so that a class no tree votes for has no log 0. Nothing is chosen:
    fixed are the trees' number, full depth, and sqrt(d) features tried at a split (scikit-learn's defaults but for
    the number).

    Args:
        trees: how many, at least 1.
    Raises:
        ValueError: fewer than one tree.
    """

    info = Info("Breiman, Random Forests", 2001, cost="O(trees N log N sqrt(sum d))")

    def __init__(self, *, trees: int = 500, validation_labels: bool = False):
        super().__init__(validation_labels=validation_labels)
        if trees < 1:
            raise ValueError(f"control 'random_forest': trees={trees}, expected at least 1")
        self.trees = trees

    def predict(self, x, labels, split, graph, classes, seed):
        del graph
        x = in_one_unit(x, split.train)  # scikit-learn takes features less than 1e-7 apart for equal
        forest = RandomForestClassifier(self.trees, random_state=seed).fit(x[split.train], labels[split.train])
        p = np.zeros((len(x), classes))
        p[:, forest.classes_] = forest.predict_proba(x)
        return np.log((self.trees * p + 1 / classes) / (self.trees + 1))
