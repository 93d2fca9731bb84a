"""The Laplacian pyramid: what the golden case cannot show."""

import jax.numpy as jnp
import numpy as np

from fusion_jax.graphs import Graph
from fusion_jax.nn.pyramid import laplacian, pyramid

N, M, D = 8, 3, 4


def both_ways(n=N, count=12, seed=0, views=(), keep=None):
    rng = np.random.default_rng(seed)
    a, b = np.triu_indices(n - 1, 1)  # the last node is isolated
    chosen = rng.choice(len(a), count, replace=False)
    a, b = a[chosen], b[chosen]
    if keep is not None:
        kept = keep[a] & keep[b]
        a, b = a[kept], b[kept]
    return Graph.create(np.concatenate([a, b]), np.concatenate([b, a]), n, views=views)


def signal(seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(N, M, D)))


def test_spectrum():
    values = np.linalg.eigvalsh(laplacian(jnp.eye(N), both_ways()))
    assert values.min() > -1e-12
    assert 1 < values.max() < 2 + 1e-12


def test_constant_signal_on_constant_degree():
    ring = np.arange(N)
    graph = Graph.create(np.concatenate([ring, (ring + 1) % N]), np.concatenate([(ring + 1) % N, ring]), N)
    low, high = pyramid(jnp.ones((N, D)), graph, 4)
    np.testing.assert_allclose(low, 1, rtol=1e-12)
    np.testing.assert_allclose(jnp.stack(high), 0, atol=1e-12)


def test_reconstruction_isolated_and_no_levels():
    x, graph = signal(), both_ways()
    low, high = pyramid(x, graph, 4, jnp.ones((N, M), bool))
    np.testing.assert_allclose(low + sum(high), x, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(low[-1], x[-1])
    assert not jnp.stack(high)[:, -1].any()
    assert np.abs(high[0][:-1]).max() > 0.1
    low, high = pyramid(x, graph, 0)
    np.testing.assert_array_equal(low, x)
    assert high == []


def test_absent_nodes_are_absent():
    """A modality's nodes get what they get in the graph without those that lack it."""
    x, present = signal(), jnp.asarray(np.random.default_rng(3).random((N, M)) < 0.6)
    low, _ = pyramid(jnp.where(present[..., None], x, jnp.nan), both_ways(), 3, present)
    for m in range(M):
        there = np.asarray(present[:, m])
        alone, _ = pyramid(x[:, m], both_ways(keep=there), 3)
        np.testing.assert_allclose(
            laplacian(x, both_ways(), present)[there, m],
            laplacian(x[:, m], both_ways(keep=there))[there],
            rtol=1e-12,
            atol=1e-14,
        )
        np.testing.assert_allclose(low[there, m], alone[there], rtol=1e-12, atol=1e-14)


def test_views():
    views = tuple(both_ways(seed=s) for s in (4, 5, 6))
    x, present = signal(), jnp.ones((N, M), bool)
    found = laplacian(x, both_ways(views=views), present)
    for m, view in enumerate(views):
        np.testing.assert_allclose(found[:, m], laplacian(x[:, m], view), rtol=1e-12, atol=1e-14)
