"""Agreement of what nodes hold with edges, against worked examples, networkx and exact nulls."""

import itertools

import numpy as np
import pytest

from fusion_jax.data.making.agreement import adjusted_homophily, agreement, closure, directions, mixing

RNG = np.random.default_rng(0)


def test_agreement_of_labels_is_edge_homophily_against_permutations():
    labels = np.array([0, 0, 1, 1, 0, 1])
    a, b = np.array([0, 2, 4, 0]), np.array([1, 3, 5, 2])
    found = agreement(np.eye(2)[labels], a, b, draws=4000)
    assert found.value == pytest.approx(2 / 4) and found.edges == 4
    every = [labels[list(order)] for order in itertools.permutations(range(6))]
    shares = np.array([(y[a] == y[b]).mean() for y in every])
    assert found.chance == pytest.approx(shares.mean(), abs=0.02)
    assert found.above == pytest.approx((shares >= 0.5).mean(), abs=0.03)
    assert found.below == pytest.approx((shares <= 0.5).mean(), abs=0.03)
    assert agreement(np.eye(2)[labels], a[:0], b[:0]) is None


def test_under_the_null_p_is_uniform():
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        z = directions(rng.normal(size=(30, 3)))
        p.append(agreement(z, rng.integers(0, 30, 60), rng.integers(0, 30, 60), draws=99).above)
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.10 and 0.4 < np.mean(p) < 0.6


def test_wide_features_and_many_edges_are_thinned_without_losing_them():
    centre = RNG.normal(size=(2, 300))
    y = np.arange(400) % 2
    z = directions(centre[y] + RNG.normal(size=(400, 300)))
    a = RNG.integers(0, 400, 20_000)
    b = (a + 2 * RNG.integers(0, 200, 20_000)) % 400
    found = agreement(z, a, b)
    whole = (z[a] * z[b]).sum(1).mean()
    assert found.value == pytest.approx(whole, rel=0.25) and found.above == 1 / 200 and found.edges == 5000


def test_directions_are_cosines_of_standardised_columns():
    x = RNG.normal(size=(50, 4)) * [1, 10, 100, 0] + 5
    z = directions(x)
    standard = (x[:, :3] - x[:, :3].mean(0)) / x[:, :3].std(0)
    wanted = standard @ standard.T / np.outer(*[np.linalg.norm(standard, axis=1)] * 2)
    np.testing.assert_allclose(z @ z.T, wanted, atol=1e-12)


def test_adjusted_homophily_is_networkx_assortativity():
    """Of labels: Newman's coefficient is the same number on an undirected graph."""
    nx = pytest.importorskip("networkx", reason="networkx is in the extra test")
    graph = nx.gnm_random_graph(30, 80, seed=1)
    labels = RNG.integers(0, 3, 30)
    nx.set_node_attributes(graph, dict(enumerate(labels.tolist())), "y")
    a, b = np.array(graph.edges).T
    assert adjusted_homophily(labels, a, b, 3) == pytest.approx(nx.attribute_assortativity_coefficient(graph, "y"))
    two = np.array([0, 0, 1, 1])
    assert adjusted_homophily(two, np.array([0, 2]), np.array([1, 3]), 2) == 1
    assert adjusted_homophily(two, np.array([0, 1]), np.array([2, 3]), 2) == -1
    assert np.isnan(adjusted_homophily(two * 0, np.array([0]), np.array([1]), 2))


def test_closure_is_transitivity_and_tells_communities_from_chance():
    nx = pytest.importorskip("networkx", reason="networkx is in the extra test")
    made = nx.relaxed_caveman_graph(20, 6, 0.2, seed=0)
    a, b = np.array([(u, v) for u, v in made.edges if u != v]).T
    share, expected, p = closure(a, b, 120)
    assert share == pytest.approx(nx.transitivity(made), abs=0.05) and share > 5 * expected and p < 1e-6
    found = []
    for seed in range(40):
        random = nx.gnm_random_graph(200, 800, seed=seed)
        found.append(closure(*np.array(random.edges).T, 200)[2])
    assert np.mean(np.array(found) < 0.05) < 0.2 and min(found) > 1e-3
    assert closure(np.array([0]), np.array([1]), 4)[2] == 1


def test_mixing_is_the_second_eigenvalue_and_tells_parts_from_chance():
    nx = pytest.importorskip("networkx", reason="networkx is in the extra test")
    ring = nx.cycle_graph(40)
    value, usual, apart = mixing(*np.array(ring.edges).T, 40)
    assert value == pytest.approx(2 * np.cos(2 * np.pi / 40) / (2 + 2), abs=1e-3)
    parts = nx.stochastic_block_model([70] * 3, (np.eye(3) * 8 + 1) / 100, seed=0)
    value, usual, apart = mixing(*np.array(parts.edges).T, 210)
    dense = nx.to_numpy_array(parts)
    scale = 1 / np.sqrt(dense.sum(1) + dense.sum(1).mean())
    assert value == pytest.approx(np.linalg.eigvalsh(scale[:, None] * dense * scale)[-2], abs=1e-3) and apart > 6
    found = [mixing(*np.array(nx.gnm_random_graph(200, 600, seed=s).edges).T, 200)[2] for s in range(20)]
    assert max(found) < 4 and abs(np.mean(found)) < 1
    assert mixing(np.array([0]), np.array([1]), 4)[0] == 0
