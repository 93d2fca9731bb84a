"""Neighbour graphs against a direct search, spectral encodings against the dense decomposition."""

import numpy as np
import pytest
import scipy.sparse as sp

from fusion_jax.data import graphs
from fusion_jax.data.base import Neighbours, edge_set

X = np.random.default_rng(0).normal(size=(40, 5))


def pairs(graph) -> set:
    return set(zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True))


@pytest.mark.parametrize("block", [7, 4096])
def test_knn_joins_where_either_is_near(block):
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosine = unit @ unit.T
    expected = set()
    for i in range(len(X)):
        others = [j for j in np.argsort(-cosine[i]) if j != i]
        expected |= {(i, int(j)) for j in others[:3]} | {(int(j), i) for j in others[:3]}
    g = graphs.knn(X, 3, block=block)
    assert pairs(g) == expected and len(g.senders) == len(expected)
    np.testing.assert_allclose(g.edges["weight"], np.maximum(cosine[g.senders, g.receivers], 0), rtol=1e-6)


def test_knn_of_nodes_all_alike_takes_the_lowest_ids():
    g = graphs.knn(np.ones((5, 2)), 1)
    assert pairs(g) == {(0, i) for i in range(1, 5)} | {(i, 0) for i in range(1, 5)}


def test_knn_leaves_out_the_nodes_without_features():
    present = np.arange(40) % 3 > 0
    x = np.where(present[:, None], X, np.nan)
    g = graphs.knn(x, 3, present=present)
    ids = np.flatnonzero(present)
    some = graphs.knn(X[ids], 3)
    assert pairs(g) == {(int(ids[i]), int(ids[j])) for i, j in pairs(some)}
    assert np.isfinite(g.edges["weight"]).all()


@pytest.mark.parametrize("k", [0, 40])
def test_knn_refuses_k_out_of_range(k):
    with pytest.raises(ValueError, match=rf"knn: k={k}, expected 1 <= k < N = 40"):
        graphs.knn(X, k)


def test_standardised_uses_rows_that_have_the_modality():
    mask = np.ones((40, 2), bool)
    mask[:4, 1] = False
    x = np.where(mask[:, [1]], X, np.nan)
    z = graphs.standardised({"a": X, "b": x}, mask, slice(20))
    np.testing.assert_allclose(z["a"][:20].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(z["b"][4:20].std(0), 1)
    assert np.all(z["b"][:4] == 0)


def test_union_holds_every_edge_once():
    g = graphs.union([edge_set([0, 1], [1, 2], 3), edge_set([1, 2], [2, 0], 3)])
    assert sorted(zip(g.senders, g.receivers, strict=True)) == [(0, 1), (1, 2), (2, 0)]


def test_spectral_encoding_is_the_leading_part_of_the_two_step_adjacency():
    g = graphs.knn(X, 4)
    a = np.eye(40)
    a[g.receivers, g.senders] = 1
    a /= np.sqrt(np.outer(a.sum(0), a.sum(0)))
    u, s, _ = np.linalg.svd(a @ a)
    x = graphs.spectral_encoding(g, 6)
    assert x.shape == (40, 6) and x.dtype == np.float32
    np.testing.assert_allclose(np.abs(x), np.abs(u[:, :6] * s[:6]), atol=2e-5)
    assert np.array_equal(x, graphs.spectral_encoding(g, 6))
    assert np.all(x[np.abs(x).argmax(0), np.arange(6)] > 0)


@pytest.mark.parametrize("unit", [1e-30, 1e-7, 1e7, 1e30])
def test_neighbours_do_not_depend_on_the_unit(unit):
    mask = np.ones((40, 1), bool)
    x, other = X.astype(np.float32), X.astype(np.float32) * np.float32(unit)
    np.testing.assert_allclose(graphs.standardise(other), graphs.standardise(x), rtol=1e-5, atol=1e-6)
    assert pairs(graphs.knn(other, 3)) == pairs(graphs.knn(x, 3))
    of_both = [graphs.neighbour_graphs({"m": v}, mask, 3)["knn"] for v in (x, other)]
    assert pairs(of_both[0]) == pairs(of_both[1])


def test_a_column_without_spread_in_the_rows_is_0():
    x = np.concatenate([X, np.full((40, 1), 0.1)], axis=1).astype(np.float32)
    x[20:, 5] = 1e4
    z = graphs.standardise(x, np.arange(20))
    np.testing.assert_array_equal(z[:, 5], 0)
    np.testing.assert_allclose(z[:20, :5].std(0), 1)


def test_a_graph_on_all_modalities_and_one_on_each_among_those_that_have_it():
    mask = np.ones((40, 2), bool)
    mask[:4, 1] = False
    features = {"a": X, "b": 2 * X[:, ::-1] + 1}
    made = graphs.neighbour_graphs(features, mask, 3, slice(20))
    views = graphs.standardised(features, mask, slice(20))
    assert list(made) == ["knn", "knn_a", "knn_b"]
    assert pairs(made["knn"]) == pairs(graphs.knn(np.concatenate([views["a"], views["b"]], 1), 3))
    assert pairs(made["knn_b"]) == pairs(graphs.knn(views["b"], 3, present=mask[:, 1])) != pairs(made["knn_a"])
    recipes = {"knn": (("a", "b"),), "knn_a": (("a",),), "knn_b": (("b",),)}
    assert graphs.neighbour_recipes(features, 3) == {name: Neighbours(3, groups) for name, groups in recipes.items()}
    nothing = graphs.standardised(features, mask, np.arange(4))["b"]
    assert not nothing.any() and nothing.shape == X.shape, "none of these rows has it"


SEEN = np.arange(40) % 4 > 0


@pytest.mark.parametrize("store", [np.asarray, sp.csr_matrix])
def test_nodes_that_arrive_hear_of_their_nearest_seen_ones_and_change_nothing_there(store):
    mask = np.ones((40, 2), bool)
    mask[[1, 8], 0] = False  # one of them seen
    features = {"a": store(X), "b": X[:, :2]}
    before, after = graphs.grow(Neighbours(3, (("a",),)), features, mask, SEEN)
    has = mask[:, 0]
    z = (X - X[SEEN & has].mean(0)) / X[SEEN & has].std(0)
    assert pairs(before) == pairs(graphs.knn(z, 3, present=SEEN & has))
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    cosine, here = unit @ unit.T, np.flatnonzero(SEEN & has)
    arrived = {(int(j), int(i)) for i in np.flatnonzero(~SEEN & has) for j in here[np.argsort(-cosine[i, here])[:3]]}
    assert pairs(after) == pairs(before) | arrived and len(after.senders) == len(before.senders) + len(arrived)
    np.testing.assert_allclose(after.edges["weight"], np.maximum(cosine[after.senders, after.receivers], 0), atol=1e-6)
    assert after.edges["weight"].dtype == np.float32 and int(after.n_node.sum()) == 40


def test_several_groups_give_the_union_of_their_graphs():
    mask = np.ones((40, 2), bool)
    features = {"a": X, "b": X[:, ::-1] ** 2}
    groups = ("a",), ("b",), ("b", "a")
    both = graphs.grow(Neighbours(2, groups), features, mask, SEEN)
    alone = [graphs.grow(Neighbours(2, (group,)), features, mask, SEEN) for group in groups]
    for i, found in enumerate(both):
        assert pairs(found) == set.union(*(pairs(one[i]) for one in alone)) and found.edges is None
    assert len(pairs(alone[2][0]) - pairs(alone[0][0])) > 0


def test_too_few_seen_nodes_have_no_neighbours():
    with pytest.raises(ValueError, match="knn: k=3, expected 1 <= k < N = 3"):
        graphs.grow(Neighbours(3, (("a",),)), {"a": X}, np.ones((40, 1), bool), np.arange(40) < 3)


@pytest.mark.parametrize("metric", ["cosine", "correlation", "euclidean"])
@pytest.mark.parametrize("mutual", [False, True])
def test_neighbours_by_any_metric_are_those_of_scipy(metric, mutual):
    from scipy.spatial.distance import cdist

    x = np.random.default_rng(3).normal(size=(30, 5))
    distance = cdist(x, x, metric)
    np.fill_diagonal(distance, np.inf)
    chosen = np.zeros((30, 30), bool)
    chosen[np.arange(30)[:, None], np.argsort(distance, axis=1)[:, :4]] = True
    wanted = chosen & chosen.T if mutual else chosen | chosen.T
    made = graphs.knn(x, 4, metric=metric, mutual=mutual)
    found = np.zeros((30, 30), bool)
    found[made.receivers, made.senders] = True
    np.testing.assert_array_equal(found, wanted)
    near = 1 / (1 + distance) if metric == "euclidean" else np.maximum(1 - distance, 0)
    np.testing.assert_allclose(made.edges["weight"], near[made.receivers, made.senders], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("metric", ["cosine", "correlation", "euclidean"])
@pytest.mark.parametrize("mutual", [False, True])
def test_a_node_that_arrives_changes_nothing_for_the_others(metric, mutual):
    mask = np.ones((40, 1), bool)
    how = Neighbours(4, (("a",),), metric, mutual)
    before, after = graphs.grow(how, {"a": X}, mask, SEEN)
    into = SEEN[after.receivers]
    np.testing.assert_array_equal(after.senders[into], before.senders)
    assert SEEN[after.senders].all() and (~SEEN[after.receivers]).any()
    standard = graphs.standardise(X, SEEN)
    for node in np.flatnonzero(~SEEN)[:3]:
        joined = np.append(np.flatnonzero(SEEN), node)
        alone = graphs.knn(standard[joined], 4, metric=metric, mutual=mutual)
        mine = joined[alone.senders[alone.receivers == len(joined) - 1]]
        got = after.senders[after.receivers == node]
        if mutual:
            np.testing.assert_array_equal(np.sort(got), np.sort(mine))
        else:
            assert len(got) == 4 and set(got) <= set(mine)


def test_another_metric_is_refused_by_name():
    with pytest.raises(ValueError, match="knn: metric='manhattan', expected one of cosine, correlation, euclidean"):
        graphs.knn(X, 3, metric="manhattan")
