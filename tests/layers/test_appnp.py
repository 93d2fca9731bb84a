"""APPNP: its limits, who is reached, dropout on the matrix, alignment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.layers.appnp import Appnp
from fusion_jax.nn.adjacency import convolve
from fusion_jax.records import Context
from tests.helpers import drawn, run, small_graph
from tests.layers.aligned import check_undone, reorder
from tests.nn.reference import dropped

N, D, OUT, H = 7, 5, 4, 6
GRAPH = small_graph(N, 20)
X = np.random.default_rng(0).normal(size=(N, D))


def made(**options):
    return drawn(lambda: Appnp(D, OUT, hidden=H, rngs=nnx.Rngs(0), **options))


def test_the_limits_of_alpha():
    """1 leaves the MLP alone, 0 is K rounds of graph convolution."""
    alone, walk = made(alpha=1.0), made(alpha=0.0, hops=3)
    np.testing.assert_allclose(run(alone, X, GRAPH), alone.predict(X), rtol=1e-12)
    z = walk.predict(X)
    for _ in range(3):
        z = convolve(z, GRAPH, "symmetric")
    np.testing.assert_allclose(run(walk, X, GRAPH), z, rtol=1e-10, atol=1e-13)


def test_it_is_personalised_pagerank():
    layer = made(hops=300, alpha=0.2)
    matrix = np.asarray(convolve(jnp.eye(N), GRAPH, "symmetric"))
    exact = 0.2 * np.linalg.solve(np.eye(N) - 0.8 * matrix, layer.predict(X))
    np.testing.assert_allclose(run(layer, X, GRAPH), exact, rtol=1e-9, atol=1e-12)


def test_who_was_absent_passes_on_what_it_has_received():
    """Of a path whose first node alone is present, K rounds reach the next K."""
    path, first = Graph.create(np.arange(N - 1), np.arange(1, N), N), np.arange(N) == 0
    y = run(made(hops=2), np.where(first[:, None], X, np.nan), path, jnp.asarray(first))
    np.testing.assert_array_equal(np.abs(y).max(1) > 0, np.arange(N) < 3)
    np.testing.assert_array_equal(made(hops=2).reached(jnp.asarray(first), path), np.arange(N) < 3)


@pytest.mark.parametrize("present", [None, np.ones(N, bool)])
def test_entries_of_the_matrix_are_dropped_and_the_rest_scaled(present):
    """Each by itself, that of the loop too; on average the matrix is what it was."""
    layer = made(hops=1, alpha=0.0, rate=0.0, edge_rate=0.5)
    z, matrix = jnp.eye(N), np.asarray(convolve(jnp.eye(N), GRAPH, "symmetric"))
    present = None if present is None else jnp.asarray(present)
    draw = jax.jit(jax.vmap(lambda key: layer.propagated(z, GRAPH, present, key)))
    seen = np.asarray(draw(jax.random.split(jax.random.key(0), 400)))
    ratio = np.where(matrix > 0, seen / np.where(matrix > 0, matrix, 1), 0)
    single = np.eye(N, dtype=bool)  # parallel edges have an entry each
    np.testing.assert_allclose(ratio[:, single], np.round(ratio[:, single]), atol=1e-9)
    assert set(np.unique(np.round(ratio[:, single]))) == {0.0, 2.0}
    np.testing.assert_allclose(seen.mean(0), matrix, atol=0.12)
    assert (seen[:, matrix == 0] == 0).all()


def test_each_round_drops_anew():
    """A node without senders keeps its loop through both rounds in a quarter of the draws."""
    graph = Graph.create(np.zeros(0, int), np.zeros(0, int), 1)
    layer = made(hops=2, alpha=0.0, rate=0.0, edge_rate=0.5)
    draw = jax.jit(jax.vmap(lambda key: layer.propagated(jnp.ones((1, 1)), graph, None, key)))
    seen = np.asarray(draw(jax.random.split(jax.random.key(1), 800))).ravel()
    assert set(seen) == {0.0, 4.0} and abs((seen > 0).mean() - 0.25) < 0.06


def test_features_and_hidden_neurons_are_dropped():
    layer = made(rate=0.5)
    one, two = (run(layer, X, GRAPH, context=Context(key=jax.random.key(k))) for k in range(2))
    assert not np.allclose(one, two)
    same = made(rate=0.0, edge_rate=0.0)
    np.testing.assert_array_equal(run(same, X, GRAPH, context=Context(key=jax.random.key(0))), run(same, X, GRAPH))


@pytest.mark.parametrize("present", [None, np.arange(40) % 5 != 2], ids=["all", "some"])
def test_alignment_undoes_a_permutation_of_both_sets_of_neurons(present):
    anchor, rng = made(), np.random.default_rng(3)
    x, graph = rng.normal(size=(40, D)), small_graph(40, 90)
    p, q = np.roll(np.arange(H), 1), np.roll(np.arange(OUT), 2)
    permuted = reorder(anchor, fc1__kernel=[(p, 1)], fc2__kernel=[(p, 0), (q, 1)])
    check_undone(anchor, permuted, x, graph, present)


@pytest.mark.parametrize("options", [dict(hops=0), dict(hidden=0), dict(alpha=1.5), dict(alpha=-0.1)])
def test_refusals(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"appnp.*{name}={value}"):
        Appnp(D, OUT, rngs=nnx.Rngs(0), **options)


def test_what_is_not_said():
    assert zoo.options("layer", "appnp") == dict(hidden=64, hops=10, alpha=0.1, rate=0.5, edge_rate=0.5)


def test_where_it_drops_and_how_much(monkeypatch):
    """Features, hidden neurons, and in every round the entries of the matrix with its loops."""
    layer, edges = made(hops=3, rate=0.2, edge_rate=0.3), GRAPH.looped.num_edges
    found = dropped(monkeypatch, lambda key: layer(jnp.asarray(X), GRAPH, context=Context(key=key)))
    assert found == [((N, D), 0.2), ((N, H), 0.2), *[((edges,), 0.3)] * 3]


def test_weights_start_as_in_the_authors_layers():
    """Uniform between -1 / sqrt(D) and 1 / sqrt(D) of D inputs."""
    layer = Appnp(100, 60, hidden=50, rngs=nnx.Rngs(0))
    for linear, bound in ((layer.fc1, 0.1), (layer.fc2, 50**-0.5)):
        assert 0.95 * bound < np.abs(linear.kernel[...]).max() <= bound * (1 + 1e-6)
        np.testing.assert_allclose(linear.kernel[...].std(), bound / np.sqrt(3), rtol=0.05)
