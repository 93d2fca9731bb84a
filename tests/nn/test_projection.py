"""Co-occurrence on a graph, its factors and its projection: by hand where they are small, exact where they can be."""

import numpy as np
import pytest
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.projection import (
    ABSENT,
    Symbols,
    attention,
    centroids,
    counts_of_graph,
    directed_factors,
    maps_of,
    projection,
    symmetric_factors,
)

V = 6
SYMBOLS = np.array([[0, 3], [1, ABSENT], [0, 4], [2, 5]])  # of two modalities with three symbols each


def graph(*pairs):
    senders, receivers = np.array(pairs).T
    return Graph.create(senders, receivers, len(SYMBOLS))


@pytest.fixture
def s():
    x = np.random.default_rng(0).normal(size=(V, V))
    return x + x.T


def test_symbols_meet_in_a_node_with_weight_1():
    counts = counts_of_graph(SYMBOLS, V, None)
    expected = np.zeros((V, V))
    for a, b in [(0, 3), (0, 4), (2, 5)]:
        expected[a, b] = expected[b, a] = 1
    np.testing.assert_array_equal(counts.symmetric, expected)
    assert not counts.directed.any()


def test_and_across_an_edge_with_a_half_in_its_direction():
    """Once for both directions, once for one that is there twice, never for a loop; absent symbols meet nobody."""
    plain = counts_of_graph(SYMBOLS, V, None).symmetric
    one = counts_of_graph(SYMBOLS, V, graph((0, 1)))
    expected = np.zeros((V, V))
    expected[[0, 3], 1] = 0.5
    np.testing.assert_array_equal(one.directed, expected)
    np.testing.assert_array_equal(one.symmetric - plain, expected + expected.T)
    several = counts_of_graph(SYMBOLS, V, graph((0, 1), (0, 1), (1, 0), (2, 2)))
    np.testing.assert_array_equal(several.symmetric, one.symmetric)
    np.testing.assert_array_equal(several.directed, expected + expected.T)


def test_the_same_symbol_across_an_edge_counts_from_both_ends():
    counts = counts_of_graph(SYMBOLS, V, graph((0, 2)))
    assert counts.symmetric[0, 0] == 1 and counts.directed[0, 0] == 0.5


def test_m_reads_s_at_the_pairs_and_e_is_its_context(s):
    ids = np.array([4, 1, 1, 0])
    m, e = projection(s, ids)
    q = np.eye(V)[ids]
    np.testing.assert_array_equal(m, [[s[a, b] for b in ids] for a in ids])
    np.testing.assert_array_equal(m, m.T)
    np.testing.assert_allclose(e, q @ s @ q.T @ q @ s, rtol=1e-12)
    np.testing.assert_array_equal(e[1], e[2])  # a token that is there twice
    order = np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(projection(s, ids[order])[0], m[np.ix_(order, order)])


def test_full_rank_is_exact_and_without_the_signs_it_would_not_be(s):
    g, sign = symmetric_factors(s, V)
    np.testing.assert_allclose(g * sign @ g.T, s, atol=1e-10)
    assert set(sign) == {-1, 1} and np.abs(g @ g.T - s).max() > 0.1
    low, few = symmetric_factors(s, 2)
    values = np.linalg.eigvalsh(s)
    left = np.sort(np.abs(values))[:-2]  # the rest is that of the smallest moduli, not of the smallest values
    assert np.linalg.norm(low * few @ low.T - s) == pytest.approx(np.sqrt((left**2).sum()))


def test_directed_scores_are_d_at_the_pairs():
    d = np.random.default_rng(1).random((V, V))
    ids = np.array([0, 5, 5, 2])
    w_q, w_k = directed_factors(d, V)
    scores, weights, out = attention(w_q, w_k, ids, np.eye(4))
    np.testing.assert_allclose(scores, d[np.ix_(ids, ids)], atol=1e-10)
    assert np.abs(scores - scores.T).max() > 0.1
    np.testing.assert_allclose(weights, np.exp(scores / np.sqrt(V)) / np.exp(scores / np.sqrt(V)).sum(1)[:, None])
    np.testing.assert_array_equal(out, weights)


def test_a_symbol_is_the_nearest_prototype_of_its_modality():
    rng = np.random.default_rng(0)
    places = np.array([[0.0, 0], [9, 0], [0, 9]])
    which = rng.integers(0, 3, 40)
    features = {"a": places[which] + 0.1 * rng.normal(size=(40, 2)), "b": np.ones((40, 3))}
    mask = np.ones((40, 2), bool)
    mask[3, 0] = mask[4, 1] = False
    features["a"][3] = np.nan
    known = Symbols.fit(features, mask, np.arange(30), 3)
    assert known.size == 4 and list(map(len, known.prototypes.values())) == [3, 1]
    found = known.read(features, mask)
    assert found[3, 0] == ABSENT and found[4, 1] == ABSENT and set(found[:3, 1]) == {3}
    there = mask[:, 0]
    assert len({(a, b) for a, b in zip(found[there, 0], which[there], strict=True)}) == 3
    rows = np.flatnonzero(there[:30])
    mean = features["a"][rows][which[rows] == which[0]].mean(0)
    np.testing.assert_allclose(known.prototypes["a"][found[0, 0]], mean)
    other = dict(features, a=np.where(np.arange(40)[:, None] < 30, features["a"], 50))
    np.testing.assert_array_equal(Symbols.fit(other, mask, np.arange(30), 3).prototypes["a"], known.prototypes["a"])


def test_a_modality_that_no_row_has_has_no_symbol():
    mask = np.array([[True, False], [True, True]])
    known = Symbols.fit({"a": np.eye(2), "b": np.eye(2)}, mask, np.array([0]), 4)
    assert known.size == 1 and known.read({"a": np.eye(2), "b": np.eye(2)}, mask).tolist() == [[0, ABSENT]] * 2


def test_centroids_are_means_over_the_places_of_a_symbol():
    x = np.arange(16.0).reshape(4, 2, 2)
    found = centroids(SYMBOLS, x, V + 1)
    np.testing.assert_array_equal(found[0], (x[0, 0] + x[2, 0]) / 2)
    np.testing.assert_array_equal(found[1], x[1, 0])
    assert not found[V].any()


def test_maps_are_those_of_every_attention():
    two = nnx.List([MultiHeadAttention(4, 2, rngs=nnx.Rngs(0)), MultiHeadAttention(4, 2, key_dim=3, rngs=nnx.Rngs(0))])
    (found,) = maps_of(two)
    assert found.heads == 2 and found.name == "0"
    np.testing.assert_array_equal(found.kernels[0][0], two[0].query.kernel[...])
