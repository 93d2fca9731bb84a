"""GIN: the sum and its eps, multisets told apart, batch statistics of those who are there, alignment."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.layers.gin import Gin
from fusion_jax.records import Context
from tests.helpers import drawn, parameters, run, small_graph
from tests.layers.aligned import check_undone, reorder, told

N, D, H, OUT = 7, 4, 6, 5
GRAPH = small_graph(N, 20)
X = np.random.default_rng(0).normal(size=(N, D))
TRAINING = Context(key=jax.random.key(0))


def made(**options):
    return drawn(lambda: Gin(D, OUT, hidden=H, rngs=nnx.Rngs(0), **options))


@pytest.mark.parametrize("learn_eps", [False, True])
def test_it_is_the_formula(learn_eps):
    layer = made(learn_eps=learn_eps)
    p = {name: np.asarray(v[...]) for name, v in parameters(layer).items()}
    assert ("eps" in p) == learn_eps
    adjacency = np.zeros((N, N))
    np.add.at(adjacency, (np.asarray(GRAPH.receivers), np.asarray(GRAPH.senders)), 1)

    def norm(h, name):
        return (h - p[f"{name}.mean"]) / np.sqrt(p[f"{name}.var"] + 1e-5) * p[f"{name}.scale"] + p[f"{name}.bias"]

    h = ((1 + p.get("eps", 0)) * X + adjacency @ X) @ p["fc1.kernel"] + p["fc1.bias"]
    y = norm(np.maximum(norm(h, "norm1"), 0) @ p["fc2.kernel"] + p["fc2.bias"], "norm2")
    np.testing.assert_allclose(run(layer, X, GRAPH), y, rtol=1e-10, atol=1e-12)


def test_eps_starts_from_gin_0():
    nets = [Gin(D, learn_eps=learn, rngs=nnx.Rngs(0)) for learn in (False, True)]
    x = X.astype(np.float32)
    np.testing.assert_array_equal(*(run(net, x, GRAPH) for net in nets))


def test_multisets_that_a_mean_confuses_are_told_apart():
    """Node 0 hears from one 1, node 1 from two: the paper's first example (its figure 3a)."""
    graph = Graph.create(np.array([2, 2, 3]), np.array([0, 1, 1]), 4)
    y = run(made(), np.ones((4, D)), graph)
    assert np.abs(y[0] - y[1]).max() > 1e-3


def test_edges_count_one_whatever_their_weight():
    weighted = Graph.create(np.asarray(GRAPH.senders), np.asarray(GRAPH.receivers), N, {"weight": np.arange(20) / 7})
    np.testing.assert_array_equal(run(made(), X, weighted), run(made(), X, GRAPH))


def test_batch_statistics_are_of_those_who_are_there():
    """Absent in the stream, or a row that stands for no node: neither moves the others or the running statistics."""
    present = np.arange(N) != 2
    senders, receivers = np.asarray(GRAPH.senders), np.asarray(GRAPH.receivers)
    kept = present[senders] & present[receivers]
    alone = Graph.create(senders[kept] - (senders[kept] > 2), receivers[kept] - (receivers[kept] > 2), N - 1)
    layers = [made() for _ in range(3)]
    wanted = run(layers[0], X[present], alone, context=TRAINING)
    found = run(layers[1], np.where(present[:, None], X, np.nan), GRAPH, present, TRAINING)
    gone = dataclasses.replace(Graph.create(senders[kept], receivers[kept], N), present=jnp.asarray(present))
    other = run(layers[2], X, gone, context=TRAINING)
    for y in (found, other):
        np.testing.assert_allclose(y[present], wanted, rtol=1e-9, atol=1e-11)
    before = parameters(made())
    for name in ("norm1.mean", "norm1.var", "norm2.mean", "norm2.var"):
        first, *others = (np.asarray(parameters(layer)[name][...]) for layer in layers)
        assert np.abs(first - before[name][...]).max() > 1e-4
        for value in others:
            np.testing.assert_allclose(value, first, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("present", [None, np.arange(40) % 5 != 2], ids=["all", "some"])
def test_alignment_undoes_a_permutation_of_both_sets_of_neurons(present):
    anchor, rng = made(), np.random.default_rng(3)
    x, graph = rng.normal(size=(40, D)), small_graph(40, 90)
    p, q = np.roll(np.arange(H), 1), np.roll(np.arange(OUT), 2)
    orders = dict(fc1__kernel=[(p, 1)], fc2__kernel=[(p, 0), (q, 1)], fc1__bias=[(p, 0)], fc2__bias=[(q, 0)])
    for norm, order in (("norm1", p), ("norm2", q)):
        orders |= {f"{norm}__{name}": [(order, 0)] for name in ("scale", "bias", "mean", "var")}
    check_undone(anchor, reorder(anchor, **orders), x, graph, present)


def test_refusals():
    with pytest.raises(ValueError, match="gin.*hidden=0"):
        Gin(D, hidden=0, rngs=nnx.Rngs(0))


def test_what_is_not_said():
    assert zoo.options("layer", "gin") == dict(hidden=None, learn_eps=False)
    assert Gin(D, OUT, rngs=nnx.Rngs(0)).fc1.out_features == OUT


def test_neurons_are_compared_by_what_they_are_in_the_network():
    """The hidden ones of sums over the senders, before their norm."""
    layer = made()
    (hidden, _), (y, _) = told(layer, X, GRAPH)
    adjacency = np.zeros((N, N))
    np.add.at(adjacency, (np.asarray(GRAPH.receivers), np.asarray(GRAPH.senders)), 1)
    np.testing.assert_allclose(hidden, layer.fc1(X + adjacency @ X), rtol=1e-10)
    np.testing.assert_allclose(y, run(layer, X, GRAPH), rtol=1e-10)
