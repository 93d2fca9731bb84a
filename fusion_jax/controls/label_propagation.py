"""Label propagation: training labels diffused over the graph, no features at all.

Reference: Zhou et al., "Learning with Local and Global Consistency", NeurIPS 2003.
"""

import numpy as np
import scipy.sparse as sp

from fusion_jax.controls.base import Control
from fusion_jax.records import Info, check_needs


class LabelPropagation(Control):
    """F <- alpha S F + (1 - alpha) Y, 100 rounds from F = Y; scores are log(F / sum F).

    S_ij = a_ij / sqrt(in_i out_j), a_ij the weight of the edge from j to i, in_i what node i receives and out_j what
    node j sends: the paper's D^-1/2 A D^-1/2 where every edge has its reverse, and for directed edges the form in
    which a node that only sends is heard. A node without any has the factor 0. Weights count by their ratios, and a
    node that no label reaches is of all classes alike.

    Nothing is chosen: alpha and the rounds are fixed.

    Args:
        alpha: share taken from the neighbours, in [0, 1).
        rounds: number of iterations, at least 0.
    Raises:
        ValueError: an option out of range; the run has no graph.
    """

    info = Info("Zhou et al., Learning with Local and Global Consistency", 2003, cost="O(rounds E C)", needs=("graph",))

    def __init__(self, *, alpha: float = 0.9, rounds: int = 100, validation_labels: bool = False):
        super().__init__(validation_labels=validation_labels)
        if not 0 <= alpha < 1:
            raise ValueError(f"control 'label_propagation': alpha={alpha}, expected a number in [0, 1)")
        if rounds < 0:
            raise ValueError(f"control 'label_propagation': rounds={rounds}, expected at least 0")
        self.alpha, self.rounds = alpha, rounds

    def predict(self, x, labels, split, graph, classes, seed):
        del x, seed
        check_needs("control 'label_propagation'", self.info.needs, graph)
        n = graph.num_nodes
        weight = np.asarray(graph.edges.get("weight", np.ones(graph.num_edges)), float)
        weight = weight / weight.max(initial=np.finfo(float).tiny)  # a sum or product of extreme ones may be 0 or inf
        a = sp.csr_matrix((weight, np.asarray(graph.senders), np.asarray(graph.row_ptr)), shape=(n, n))
        received, sent = (_factor(np.asarray(a.sum(axis)).ravel()) for axis in (1, 0))
        a = sp.diags(received) @ a @ sp.diags(sent)
        y = np.zeros((n, classes))
        y[split.train, labels[split.train]] = 1
        f = y.copy()
        for _ in range(self.rounds):
            f = self.alpha * (a @ f) + (1 - self.alpha) * y
        total = f.sum(1, keepdims=True)
        p = np.divide(f, total, out=np.full_like(f, 1 / classes), where=total > 0)
        return np.log(np.maximum(p, 1e-12))


def _factor(degree: np.ndarray) -> np.ndarray:
    """1 / sqrt(degree), 0 where there is none."""
    return np.divide(1, np.sqrt(np.maximum(degree, 0)), out=np.zeros_like(degree), where=degree > 0)
