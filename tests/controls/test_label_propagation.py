"""Label propagation against the paper's closed form, and on the graphs the paper leaves out."""

import numpy as np
import pytest

from fusion_jax.controls.label_propagation import LabelPropagation
from fusion_jax.data.base import Split
from fusion_jax.graphs import Graph


def shares(senders, receivers, n, labels, classes=2, weight=None, **options):
    """The predicted distribution; rows with a label >= 0 are training rows."""
    labels = np.asarray(labels)
    rest = np.flatnonzero(labels < 0)
    graph = Graph.create(senders, receivers, n, None if weight is None else {"weight": np.asarray(weight)})
    with np.errstate(all="raise", under="ignore"):
        split = Split(np.flatnonzero(labels >= 0), rest, rest)
        scores = LabelPropagation(**options).predict(None, labels, split, graph, classes, 0)
    assert np.isfinite(scores).all()
    p = np.exp(scores)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)
    return p


def test_the_limit_is_the_papers_closed_form():
    rng = np.random.default_rng(0)
    a = np.triu(rng.random((12, 12)) < 0.4, 1) * rng.uniform(0.5, 2, (12, 12))
    a = a + a.T
    labels = np.array([0, 1, 2] + [-1] * 9)
    root = 1 / np.sqrt(a.sum(1))
    f = np.linalg.solve(np.eye(12) - 0.8 * root[:, None] * a * root, np.eye(3, 12).T)
    r, s = np.nonzero(a)
    found = shares(s, r, 12, labels, 3, weight=a[r, s], alpha=0.8, rounds=400)
    np.testing.assert_allclose(found, f / f.sum(1, keepdims=True), rtol=1e-9)


def test_nodes_without_edges_keep_their_label_or_are_of_all_classes_alike():
    p = shares([0, 1], [1, 0], 4, [1, -1, 0, -1])
    np.testing.assert_allclose(p, [[0, 1], [0, 1], [1, 0], [0.5, 0.5]], atol=1e-11)


def test_a_graph_without_edges_and_one_of_weights_0():
    expected = [[1, 0], [0.5, 0.5], [0, 1]]
    none = np.array([], int)
    np.testing.assert_allclose(shares(none, none, 3, [0, -1, 1]), expected, atol=1e-11)
    np.testing.assert_allclose(shares([0, 1], [1, 2], 3, [0, -1, 1], weight=[0.0, 0.0]), expected, atol=1e-11)


def test_a_node_that_only_sends_is_heard_and_does_not_drown_the_others():
    ring = np.array([1, 2, 3, 4, 5])
    s, r = np.r_[0, ring, ring], np.r_[6, [6] * 5, np.roll(ring, -1)]
    p = shares(s, r, 7, [0, 1, 1, 1, 1, 1, -1])
    assert p[6, 1] > 0.8, "five nodes of class 1 against one of class 0"
    chain = shares([0, 1, 2], [1, 2, 3], 4, [1, -1, -1, -1])
    assert (chain[:, 1] > 0.99).all(), "all that a chain carries is its source's label"
    assert shares([0, 1, 2], [3, 3, 3], 4, [1, 1, 0, -1])[3, 1] == pytest.approx(2 / 3)


@pytest.mark.parametrize("unit", [1e-30, 1e-14, 1e30])
def test_weights_count_by_their_ratios(unit):
    s, r, w = np.array([0, 3, 1, 3, 2, 3]), np.array([3, 0, 3, 1, 3, 2]), np.array([2.0, 2, 1, 1, 4, 4])
    plain, other = (shares(s, r, 4, [0, 1, 1, -1], weight=w * u) for u in (1.0, unit))
    np.testing.assert_allclose(other, plain, rtol=1e-9)


def test_a_label_far_away_is_not_rounded_to_nothing():
    n = 90
    s = np.arange(n - 1)
    p = shares(np.r_[s, s + 1], np.r_[s + 1, s], n, [1] + [-1] * (n - 1), alpha=0.3)
    assert (p[:, 1] > 0.99).all()


@pytest.mark.parametrize(("options", "match"), [(dict(alpha=1.0), "alpha=1.0, expected"), (dict(rounds=-1), "rounds")])
def test_options_out_of_range(options, match):
    with pytest.raises(ValueError, match=match):
        LabelPropagation(**options)


def test_without_a_graph():
    rows = np.arange(2)
    with pytest.raises(ValueError, match="'label_propagation' needs a graph"):
        LabelPropagation().predict(None, rows, Split(rows, rows, rows), None, 2, 0)
