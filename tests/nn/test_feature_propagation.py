"""Feature propagation against its recursion in NumPy and against the linear system that it tends to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.graphs import Graph
from fusion_jax.nn.feature_propagation import STEPS, propagated
from tests.nn.reference import N, close, graph, matrix, normal

X = normal(N, 3)
KNOWN = np.arange(N) % 3 != 1


def normalised(g) -> np.ndarray:
    a = matrix(g, g.edges.get("weight")) * (1 - np.eye(N))
    d = a.sum(1)
    scale = np.where(d > 0, 1 / np.sqrt(np.where(d > 0, d, 1)), 0)
    return scale[:, None] * a * scale


def recursion(x, known, a, steps):
    filled = np.where(known[:, None], x, 0)
    for _ in range(steps):
        filled = np.where(known[:, None], x, a @ filled)
    return filled


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("steps", [0, 1, 3, STEPS])
def test_unknown_rows_follow_the_recursion_and_known_ones_stay(weighted, steps):
    g = graph(weighted)
    broken = np.where(KNOWN[:, None], X, np.nan)
    found = jax.jit(propagated, static_argnums=3)(jnp.asarray(broken), jnp.asarray(KNOWN), g, steps)
    close(found, recursion(X, KNOWN, normalised(g), steps))
    np.testing.assert_array_equal(found[KNOWN], X[KNOWN])


def test_it_tends_to_the_harmonic_extension():
    """On a path 0 - 1 - 2 - 3 with known ends x_1, x_2 solve x_u = A_uu x_u + A_uk x_k; a loop counts for nothing."""
    s = np.array([0, 1, 2])
    g = Graph.create(np.r_[s, s + 1, 1], np.r_[s + 1, s, 1], 4)
    x, known = np.array([[1.0], [0], [0], [-2.0]]), np.array([True, False, False, True])
    a = np.zeros((4, 4))
    a[s, s + 1] = a[s + 1, s] = [1 / np.sqrt(2), 1 / 2, 1 / np.sqrt(2)]
    expected = np.linalg.solve(np.eye(2) - a[1:3, 1:3], a[1:3][:, known] @ x[known])
    close(propagated(jnp.asarray(x), jnp.asarray(known), g)[1:3], expected)


def test_what_nobody_reaches_is_0_and_what_all_know_is_as_it_was():
    none = Graph.create(np.zeros(0, int), np.zeros(0, int), N)
    close(propagated(X, jnp.asarray(KNOWN), none), np.where(KNOWN[:, None], X, 0))
    close(propagated(X, jnp.ones(N, bool), graph()), X)
    assert not np.any(propagated(X, jnp.zeros(N, bool), graph()))


def test_gradients_reach_known_rows_only():
    g = graph()
    weights = normal(N, 3)
    found = jax.grad(lambda x: (weights * propagated(x, jnp.asarray(KNOWN), g, 5)).sum())(jnp.asarray(X))
    basis = np.eye(N)  # the map is linear: its matrix, column by column
    map_ = recursion(basis * KNOWN[:, None], KNOWN, normalised(g), 5)
    close(found, np.where(KNOWN[:, None], map_.T @ weights, 0))
