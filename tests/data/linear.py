"""What the tests of data sets share: logistic regression on features, and features averaged over neighbours."""

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from fusion_jax.data.graphs import standardise


def accuracy(x, labels, train, test, *, c=1.0, scale=True) -> float:
    """Test accuracy of l2 logistic regression; dense features standardised on the training rows if `scale`."""
    x = standardise(x, train) if scale else x
    model = LogisticRegression(C=c, max_iter=5000).fit(x[train], labels[train])
    return model.score(x[test], labels[test])


def averaged(x, graph, rounds: int = 2):
    """(D^-1/2 (A + I) D^-1/2)^rounds x."""
    n = int(graph.n_node.sum())
    a = sp.csr_matrix((np.ones(len(graph.senders)), (graph.receivers, graph.senders)), shape=(n, n)) + sp.eye(n)
    scale = sp.diags(1 / np.sqrt(np.asarray(a.sum(1)).ravel()))
    for _ in range(rounds):
        x = scale @ (a @ (scale @ x))
    return x


def agreement(graph, labels) -> float:
    """Share of the edges whose ends have one label."""
    return float((labels[graph.senders] == labels[graph.receivers]).mean())
