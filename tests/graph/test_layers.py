"""GCN, SGC, GraphSAGE and GAT against dense NumPy written from their equations."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.graph.gat import GAT
from fusion_jax.graph.gcn import GCN
from fusion_jax.graph.sage import Sage
from fusion_jax.graph.sgc import Sgc
from fusion_jax.types import Graph
from tests.helpers import to_float64

N, D = 6, 4


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    dense = (rng.random((N, N)) < 0.4) * rng.random((N, N))  # [receiver, sender]
    dense[3] = 0  # a node that receives nothing
    dense[1, 1] = 0.7  # a loop that the looped graph replaces
    receivers, senders = np.nonzero(dense)
    graph = Graph.create(senders, receivers, N, {"weight": dense[receivers, senders]})
    looped = dense.copy()
    np.fill_diagonal(looped, 1)
    return graph, dense, looped, rng.normal(size=(N, D))


def symmetric(a):
    scale = 1 / np.sqrt(a.sum(1))
    return scale[:, None] * a * scale


def test_gcn(data):
    graph, _, looped, x = data
    layer = to_float64(GCN(D, rngs=nnx.Rngs(0)))
    layer.linear.bias.set_value(jnp.linspace(0.5, D - 0.5, D))
    expected = symmetric(looped) @ x @ np.asarray(layer.linear.kernel[...]) + np.arange(D) + 0.5
    np.testing.assert_allclose(layer(x, graph), expected, rtol=1e-12)


def test_sgc_is_repeated_gcn_averaging(data):
    graph, _, looped, x = data
    layer = to_float64(Sgc(D, hops=3, rngs=nnx.Rngs(0)))
    expected = np.linalg.matrix_power(symmetric(looped), 3) @ x @ np.asarray(layer.linear.kernel[...])
    np.testing.assert_allclose(layer(x, graph), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="hops=0"):
        Sgc(D, hops=0, rngs=nnx.Rngs(0))


def test_sage(data):
    graph, dense, _, x = data
    layer = to_float64(Sage(D, rngs=nnx.Rngs(0)))
    adjacency = (dense > 0).astype(float)
    mean = adjacency @ x / np.maximum(adjacency.sum(1, keepdims=True), 1)
    own, neighbour = (np.asarray(p.kernel[...]) for p in (layer.own, layer.neighbour))
    np.testing.assert_allclose(layer(x, graph), x @ own + mean @ neighbour, rtol=1e-12)


def test_gat_and_its_attention(data):
    graph, _, looped, x = data
    heads = 2
    layer = to_float64(GAT(D, heads=heads, rngs=nnx.Rngs(0)))
    h = (x @ np.asarray(layer.linear.kernel[...])).reshape(N, heads, -1)
    sent, received = ((h * np.asarray(a[...])).sum(-1) for a in (layer.att_sender, layer.att_receiver))
    score = sent[None] + received[:, None]
    score = np.where(score > 0, score, 0.2 * score)  # [receiver, sender, H]
    weights = np.where((looped > 0)[..., None], np.exp(score), 0)
    weights /= weights.sum(1, keepdims=True)
    np.testing.assert_allclose(layer(x, graph), np.einsum("ijh,jhd->ihd", weights, h).reshape(N, D), rtol=1e-12)
    exported = layer.attention(x, graph)
    ids = np.asarray(graph.looped.receivers), np.asarray(graph.looped.senders)
    np.testing.assert_allclose(exported, weights[ids], rtol=1e-12)


def test_heads_must_divide():
    with pytest.raises(ValueError, match="gat.*heads=3"):
        GAT(D, heads=3, rngs=nnx.Rngs(0))
