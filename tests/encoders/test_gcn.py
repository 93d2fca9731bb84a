"""The encoder of graph convolutions against dense NumPy."""

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.encoders.gcn import GCN
from fusion_jax.graphs import Graph
from fusion_jax.layers import gcn as layer
from fusion_jax.records import Context
from tests.helpers import to_float64

N, D = 6, 4


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    dense = (rng.random((N, N)) < 0.4) * rng.random((N, N))  # [receiver, sender]
    np.fill_diagonal(dense, 0)
    dense[3] = 0  # a node that receives nothing
    receivers, senders = np.nonzero(dense)
    graph = Graph.create(senders, receivers, N, {"weight": dense[receivers, senders]})
    return graph, dense + np.eye(N), rng.normal(size=(N, 5))


@pytest.mark.parametrize("hidden", [(), (3,), (7, 3)])
def test_layers(data, hidden):
    graph, a, x = data
    a = a / np.abs(a).sum(1, keepdims=True)
    encoder = to_float64(GCN(5, D, hidden=hidden, rngs=nnx.Rngs(0)))
    expected = x
    for gc in encoder.gc:
        expected = a @ (expected @ np.asarray(gc.kernel[...])) + np.asarray(gc.bias[...])
        expected = np.where(expected > 0, expected, 0.25 * expected)
    np.testing.assert_allclose(encoder(x, graph), expected, rtol=1e-12)


def test_dropout_is_between_the_layers_only(data):
    graph, _, x = data
    one, two = (to_float64(GCN(5, D, hidden=hidden, rngs=nnx.Rngs(0))) for hidden in ((), (3,)))
    np.testing.assert_array_equal(one(x, graph), one(x, graph, context=Context(key=jax.random.key(0))))
    assert not np.array_equal(two(x, graph), two(x, graph, context=Context(key=jax.random.key(0))))


def test_symmetric_is_the_graph_layer(data):
    graph, _, _ = data
    graph = Graph.create(np.asarray(graph.senders), np.asarray(graph.receivers), N)
    x = np.random.default_rng(1).normal(size=(N, D))
    encoder = to_float64(GCN(D, D, hidden=(), slope=1.0, norm="symmetric", rngs=nnx.Rngs(0)))
    same = to_float64(layer.GCN(D, rngs=nnx.Rngs(1)))
    same.linear.kernel.set_value(encoder.gc[0].kernel[...])
    np.testing.assert_allclose(encoder(x, graph), same(x, graph), rtol=1e-12)


def test_refusals(data):
    with pytest.raises(ValueError, match="encoder 'gcn'.*norm='col'"):
        GCN(5, D, norm="col", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="graph 'gcn'.*norm='col'"):
        layer.GCN(D, norm="col", rngs=nnx.Rngs(0))
