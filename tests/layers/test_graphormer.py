"""Graphormer: biases by distance, degrees of those who are there, components, graphs by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.layers.graphormer import Graphormer, looked_up
from fusion_jax.records import Context
from fusion_jax.structures.base import derive
from tests.helpers import drawn, run
from tests.nn.reference import dropped
from tests.structures import cases

D, OUT = 5, 6
N_NODE = (6, 1, 9)
N = sum(N_NODE)
X = np.random.default_rng(0).normal(size=(N, D))


def made(out=OUT, dim=D, **options):
    options = dict(heads=2, cutoff=5, degrees=12) | options
    return drawn(lambda: Graphormer(dim, out, rngs=nnx.Rngs(0), **options))


def ready(layer, graph):
    return derive([graph], layer.structures)[0]


def path(n, n_node=None):
    return Graph.create(np.arange(n - 1), np.arange(1, n), n if n_node is None else n_node)


@pytest.mark.parametrize("options", [{}, dict(far="shared", norm_first=False)], ids=str)
def test_each_graph_of_a_batch_by_itself_and_rows_that_stand_for_no_node(options):
    layer, graph = made(**options), cases.batch(1, n_node=N_NODE, weighted=False)
    together = run(layer, X, ready(layer, graph))
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    for end, count in zip(np.cumsum(N_NODE), N_NODE, strict=True):
        own, begin = (receivers >= end - count) & (receivers < end), end - count
        alone = Graph.create(senders[own] - begin, receivers[own] - begin, count)
        np.testing.assert_allclose(together[begin:end], run(layer, X[begin:end], ready(layer, alone)), rtol=1e-9)
    more = ready(layer, cases.with_rows(graph, 2))
    found, other = (run(layer, np.concatenate([x, np.full((2, D), np.nan)]), more) for x in (X, 2 - X))
    np.testing.assert_allclose(found[:N], together, rtol=1e-9)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[N:], other[N:])


def test_the_bias_is_of_the_number_of_edges_between():
    """Where only distance 2 counts, a node of a path takes the mean of the values two to its left and right."""
    layer = made(OUT, OUT, degrees=1)
    layer.spatial_pos_encoder[...] = jnp.where(jnp.arange(5)[:, None] == 2, 0.0, -1e9)
    layer.self_attn.query.kernel[...] = jnp.zeros((OUT, OUT))
    layer.self_attn.query.bias[...] = jnp.zeros(OUT)
    layer.fc2.kernel[...], layer.fc2.bias[...] = jnp.zeros((OUT, OUT)), jnp.zeros(OUT)
    x = np.random.default_rng(1).normal(size=(7, OUT))
    h = x + np.asarray(layer.degree_encoder[...])[0]
    values = np.asarray(layer.self_attn.value(layer.self_attn_layer_norm(jnp.asarray(h))))
    mean = np.stack([values[[j for j in (i - 2, i + 2) if 0 <= j < 7]].mean(0) for i in range(7)])
    np.testing.assert_allclose(run(layer, x, ready(layer, path(7))), h + layer.self_attn.out(mean), rtol=1e-9)


@pytest.mark.parametrize("far, moved", [("hidden", [1, 1, 1, 0, 0, 0]), ("shared", [1, 1, 1, 1, 1, 0])])
def test_who_is_too_far_and_who_shares_one_more_bias(far, moved):
    """A path of four, a lonely node of the same graph, and another graph: the first node is changed, cutoff 3."""
    layer = made(far=far, cutoff=3)
    assert layer.spatial_pos_encoder.shape[0] == 3 + (far == "shared")
    graph, x = ready(layer, path(4, np.array([5, 1]))), X[:6]
    changed = x.copy()
    changed[0] += 1
    difference = np.abs(run(layer, x, graph) - run(layer, changed, graph)).max(1)
    np.testing.assert_array_equal(difference > 0, np.array(moved, bool))
    first = jnp.asarray(np.arange(6) == 0)
    np.testing.assert_array_equal(layer.reached(first, graph), np.array(moved, bool))
    both = jnp.stack([first, ~first], 1)
    np.testing.assert_array_equal(layer.reached(both, graph)[:, 0], np.array(moved, bool))


def test_degrees_are_of_those_who_are_there():
    """A star: loops and parallel edges count nothing, the middle has one a present leaf, at most the last row."""
    senders, receivers = np.array([1, 2, 3, 4, 1, 0, 0]), np.array([0, 0, 0, 0, 0, 0, 1])
    layer = made(degrees=4)
    graph = ready(layer, Graph.create(senders, receivers, 6))
    np.testing.assert_array_equal(layer.degree(graph, None), [4, 1, 1, 1, 1, 0])
    there = jnp.asarray([1, 1, 1, 0, 0, 1], bool)
    np.testing.assert_array_equal(layer.degree(graph, there)[jnp.array([0, 1, 2, 5])], [2, 1, 1, 0])
    z, x = np.asarray(layer.degree_encoder[...]), jnp.asarray(X[:6])
    expected = layer.project(x) + z[[3, 1, 1, 1, 1, 0]]
    np.testing.assert_allclose(layer.centred(x, graph, None), expected, rtol=1e-12)


def test_absent_nodes_are_no_keys():
    """Among four that see each other, what three get is what they get of themselves (biases are of one distance)."""
    layer, everybody = made(), ~np.eye(4, dtype=bool)
    there = np.array([1, 1, 0, 1], bool)
    whole, less = (ready(layer, Graph.create(*np.nonzero(a), len(a))) for a in (everybody, everybody[:3, :3]))
    found = run(layer, np.where(there[:, None], X[:4], np.nan), whole, jnp.asarray(there))
    np.testing.assert_allclose(found[there], run(layer, X[:4][there], less), rtol=1e-9)
    other = run(layer, np.where(there[:, None], 2 - X[:4], np.nan), whole, jnp.asarray(there))
    assert np.abs(found - other)[~there].min() > 1e-6  # who is absent hears of the others


def test_the_lookups_gradient_is_that_of_indexing():
    rng = np.random.default_rng(0)
    table, ids, g = (
        rng.normal(size=(3, 5)),
        rng.integers(0, 5, (2, 4, 4)).astype(np.int8),
        rng.normal(size=(3, 2, 4, 4)),
    )
    own, plain = (jax.grad(lambda t, f=f: (f(t, ids) * g).sum())(table) for f in (looked_up, lambda t, i: t[:, i]))
    np.testing.assert_allclose(own, plain, rtol=1e-12)
    two = jnp.stack([table, 2 * table])
    seeds = jax.vmap(jax.grad(lambda t: (looked_up(t, jnp.asarray(ids)) ** 2).sum()))(two)
    np.testing.assert_allclose(seeds[1], 2 * seeds[0], rtol=1e-12)


def test_the_largest_cutoff_fits_into_bytes():
    layer = made(far="shared", cutoff=127)
    graph = ready(layer, path(4, np.array([5, 1])))
    assert np.isfinite(run(layer, X[:6], graph)).all()
    assert int(graph.structure(layer.structures[0]).hops[0, 0, 4]) == 127


@pytest.mark.parametrize(
    "options, match",
    [
        (dict(heads=4), "heads=4 does not divide the width D=6"),
        (dict(far="share"), "far='share'.*did you mean 'shared'"),
        (dict(activation="elu"), "activation='elu'"),
        (dict(hidden=0), "hidden=0"),
        (dict(degrees=0), "degrees=0"),
        (dict(cutoff=1), "graphormer.*cutoff=1, expected at least 2"),
        (dict(cutoff=128), "graphormer.*cutoff=128"),
    ],
)
def test_refusals(options, match):
    with pytest.raises(ValueError, match=match):
        Graphormer(D, OUT, rngs=nnx.Rngs(0), **dict(heads=2) | options)


def test_what_is_not_said():
    wanted = dict(heads=4, hidden=None, cutoff=20, far="hidden", degrees=512, norm_first=True, activation="gelu")
    assert zoo.options("layer", "graphormer") == wanted | dict(rate=0.0, attention_rate=0.1, hidden_rate=0.1)
    assert nnx.eval_shape(lambda: Graphormer(D, OUT, heads=2, rngs=nnx.Rngs(0))).fc1.out_features == OUT


@pytest.mark.parametrize("norm_first", [True, False])
def test_where_it_drops_and_how_much(monkeypatch, norm_first):
    layer = made(hidden=7, rate=0.2, attention_rate=0.3, hidden_rate=0.4, norm_first=norm_first)
    graph = ready(layer, path(N))
    found = dropped(monkeypatch, lambda key: layer(jnp.asarray(X), graph, context=Context(key=key)))
    assert found == [((1, 2, N, N), 0.3), ((N, OUT), 0.2), ((N, 7), 0.4), ((N, OUT), 0.2)]
