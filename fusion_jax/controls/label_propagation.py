"""Label propagation: training labels diffused over the graph, no features at all.

Reference: Zhou et al., "Learning with Local and Global Consistency", NeurIPS 2003.
"""

import numpy as np
import scipy.sparse as sp

from fusion_jax.controls.base import Control
from fusion_jax.types import Info


class LabelPropagation(Control):
    """F <- alpha D^-1/2 A D^-1/2 F + (1 - alpha) Y, 100 rounds from F = Y; scores are log(F / sum F).

    Args:
        alpha: share taken from the neighbours, in [0, 1).
        rounds: number of iterations.
    Raises:
        ValueError: the run has no graph.
    """

    info = Info("Zhou et al., Learning with Local and Global Consistency", 2003, cost="O(rounds E C)", needs=("graph",))

    def __init__(self, *, alpha: float = 0.9, rounds: int = 100):
        self.alpha, self.rounds = alpha, rounds

    def predict(self, x, labels, split, graph, classes, seed):
        del x, seed
        if graph is None:
            raise ValueError("control 'label_propagation' needs a graph")
        n = graph.num_nodes
        weight = np.asarray(graph.edges.get("weight", np.ones(graph.num_edges)), float)
        a = sp.csr_matrix((weight, np.asarray(graph.senders), np.asarray(graph.row_ptr)), shape=(n, n))
        scale = 1 / np.sqrt(np.maximum(np.asarray(a.sum(1)).ravel(), 1e-12))
        a = sp.diags(scale) @ a @ sp.diags(scale)
        y = np.zeros((n, classes))
        y[split.train, labels[split.train]] = 1
        f = y.copy()
        for _ in range(self.rounds):
            f = self.alpha * (a @ f) + (1 - self.alpha) * y
        f = np.maximum(f, 1e-12)
        return np.log(f / f.sum(1, keepdims=True))
