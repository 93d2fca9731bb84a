"""Return probabilities, against powers of the dense matrix."""

import numpy as np
import pytest

from fusion_jax.graphs import Graph
from fusion_jax.structures import random_walk
from tests.structures import cases


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("absent", [0, 4])
def test_they_are_the_diagonals_of_the_powers(steps, weighted, absent, monkeypatch):
    monkeypatch.setattr(random_walk, "BLOCK", 7 * sum(cases.N_NODE))  # several blocks of columns
    graph = cases.batch(3, absent=absent)
    a = cases.undirected(graph, weighted)
    walk = a / np.maximum(a.sum(1, keepdims=True), 1)
    expected = np.stack([np.diag(np.linalg.matrix_power(walk, k)) for k in range(1, steps + 1)], 1)
    found = cases.made(graph, "random_walk", steps=steps, weighted=weighted).landing
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
    assert found.dtype == np.float64 and (steps == 1 or found.max() > 0.1)


def test_of_a_path_of_two_and_a_lonely_node():
    graph = Graph.create(np.array([0, 2]), np.array([1, 2]), 3)
    found = cases.made(graph, "random_walk", steps=4)
    np.testing.assert_array_equal(found.landing, [[0, 1, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]])
    assert found.report() == dict(largest=1.0, nodes=2)


def test_permuted_nodes_take_theirs_along():
    graph, order = cases.batch(2, n_node=(15,)), np.random.default_rng(0).permutation(15)
    place = np.argsort(order)
    edges = {"weight": np.asarray(graph.edges["weight"])}
    other = Graph.create(place[np.asarray(graph.senders)], place[np.asarray(graph.receivers)], 15, edges)
    moved = cases.made(graph, "random_walk", weighted=True).permuted(order).landing
    np.testing.assert_allclose(moved, cases.made(other, "random_walk", weighted=True).landing, rtol=1e-12)
