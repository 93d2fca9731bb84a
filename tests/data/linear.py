"""What the tests of data sets share: where their files are, logistic regression, features averaged over neighbours."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from fusion_jax import data
from fusion_jax.data import files
from fusion_jax.data.graphs import standardise


def accuracy(x, labels, train, test, *, c=1.0, scale=True) -> float:
    """Test accuracy of l2 logistic regression; dense features standardised on the training rows if `scale`."""
    x = standardise(x, train) if scale else x
    model = LogisticRegression(C=c, max_iter=5000).fit(x[train], labels[train])
    return model.score(x[test], labels[test])


def rbf_accuracy(x, labels, train, test, *, c=10.0) -> float:
    """Test accuracy of an RBF SVM on features standardised on the training rows."""
    x = standardise(x, train)
    return SVC(C=c).fit(x[train], labels[train]).score(x[test], labels[test])


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


def directed_agreement(x, labels, k: int) -> float:
    """Share of the k nearest of every node (cosine, standardised features) that have its label."""
    x = standardise(x)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    near = x @ x.T
    np.fill_diagonal(near, -np.inf)
    return float((labels[np.argpartition(-near, k, axis=1)[:, :k]] == labels[:, None]).mean())


def present(name: str) -> data.Dataset:
    """The data set; the test is skipped where its files are not found (no download)."""
    needed = data.module(name).FILES
    missing = [file for file in needed.sha256 if needed.find(file) is None]
    if missing:
        pytest.skip(f"{name}: {', '.join(missing)} not in {', '.join(map(str, files.roots()))}")
    return data.load(name)


def loads_again(d: data.Dataset) -> None:
    """A second load is equal, and the checksum is that of the files."""
    again = data.load(d.name)
    assert d.provenance.checksum == data.module(d.name).FILES.checksum
    for key, g in d.graphs.items():
        assert np.array_equal(g.senders, again.graphs[key].senders)
    for x, z in zip(d.features.values(), again.features.values(), strict=True):
        assert np.array_equal(x.toarray() if sp.issparse(x) else x, z.toarray() if sp.issparse(z) else z)
