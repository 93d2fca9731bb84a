"""Rings: the nodes one edge and exactly two edges away, against matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn.rings import one_hop, ring_mean, two_hop
from fusion_jax.nn.segment import plain_xla
from fusion_jax.structures.base import Structure, derive
from tests.structures import cases

PAIRS = Structure("two_hop")


def two_graphs():
    """Of the same rows, the first with fewer pairs: behind its last one there is padding."""
    return derive([cases.batch(0, degree=1.0), cases.batch(1, degree=3.0)], [PAIRS])


def matrices(graph):
    """Who hears whom along an edge without loops (as often as it is there), and over exactly two, [N, N] each."""
    n = graph.num_nodes
    near = np.zeros((n, n))
    np.add.at(near, (np.asarray(graph.receivers), np.asarray(graph.senders)), 1)
    np.fill_diagonal(near, 0)
    far = ((near @ near > 0) & (near == 0)).astype(float)
    np.fill_diagonal(far, 0)
    return near, far


def averaged(matrix, x, present):
    matrix = matrix * present
    total = matrix.sum(1, keepdims=True)
    return matrix @ np.where(present[:, None], x, 0) / np.maximum(total, 1)


@pytest.mark.parametrize("plain", [False, True])
def test_means_and_their_gradients(plain):
    rng = np.random.default_rng(0)
    for graph in two_graphs():
        x, present = rng.normal(size=(graph.num_nodes, 3)), rng.random(graph.num_nodes) < 0.7
        seen = jnp.asarray(np.where(present[:, None], x, np.nan))
        for ring, matrix in zip((one_hop(graph), two_hop(graph.structure(PAIRS), graph)), matrices(graph), strict=True):
            assert matrix.any()

            def mean(x, ring=ring, present=present):
                return ring_mean(x, ring, jnp.asarray(present))

            weight = rng.normal(size=x.shape)
            with plain_xla() if plain else np.errstate():
                found = mean(seen)
                gradient = jax.grad(lambda x, mean=mean, weight=weight: (mean(x) * weight).sum())(seen)
            np.testing.assert_allclose(found, averaged(matrix, x, present), rtol=1e-12, atol=1e-14)
            total = np.maximum((matrix * present).sum(1, keepdims=True), 1)
            expected = np.where(present[:, None], (matrix * present).T @ (weight / total), 0)
            np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-14)


def test_everybody_is_there_unless_it_is_said():
    graph = two_graphs()[1]
    x, everybody = (
        jnp.asarray(np.random.default_rng(1).normal(size=(graph.num_nodes, 2))),
        np.ones(graph.num_nodes, bool),
    )
    ring = two_hop(graph.structure(PAIRS), graph)
    np.testing.assert_array_equal(ring_mean(x, ring), ring_mean(x, ring, jnp.asarray(everybody)))
    assert int(ring[0].jraph.n_edge.sum()) == int(ring[1].sum())
