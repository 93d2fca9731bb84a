"""GCN, SGC, GraphSAGE and GAT against dense NumPy written from their equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.gat import GAT
from fusion_jax.layers.gcn import GCN
from fusion_jax.layers.sage import Sage
from fusion_jax.layers.sgc import Sgc
from fusion_jax.records import EVALUATION, Context
from tests.helpers import to_float64

N, D, OUT = 6, 4, 8


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


@pytest.mark.parametrize("out", [None, OUT])
def test_gcn(data, out):
    graph, _, looped, x = data
    layer = to_float64(GCN(D, out, rngs=nnx.Rngs(0)))
    width = out or D
    layer.linear.bias.set_value(jnp.linspace(0.5, width - 0.5, width))
    expected = symmetric(looped) @ x @ np.asarray(layer.linear.kernel[...]) + np.arange(width) + 0.5
    np.testing.assert_allclose(layer(x, graph), expected, rtol=1e-12)


@pytest.mark.parametrize("out", [None, OUT])
def test_sgc_is_repeated_gcn_averaging(data, out):
    graph, _, looped, x = data
    layer = to_float64(Sgc(D, out, hops=3, rngs=nnx.Rngs(0)))
    expected = np.linalg.matrix_power(symmetric(looped), 3) @ x @ np.asarray(layer.linear.kernel[...])
    np.testing.assert_allclose(layer(x, graph), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="hops=0"):
        Sgc(D, hops=0, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("out", [None, OUT])
def test_sage(data, out):
    graph, dense, _, x = data
    layer = to_float64(Sage(D, out, rngs=nnx.Rngs(0)))
    adjacency = (dense > 0).astype(float)
    mean = adjacency @ x / np.maximum(adjacency.sum(1, keepdims=True), 1)
    own, neighbour = (np.asarray(p.kernel[...]) for p in (layer.own, layer.neighbour))
    np.testing.assert_allclose(layer(x, graph), x @ own + mean @ neighbour, rtol=1e-12)


@pytest.mark.parametrize(("out", "merge"), [(None, "concat"), (OUT, "concat"), (5, "mean")])
def test_gat_and_its_attention(data, out, merge):
    graph, _, looped, x = data
    heads = 2
    layer = to_float64(GAT(D, out, heads=heads, merge=merge, rngs=nnx.Rngs(0)))
    layer.bias.set_value(jnp.linspace(0.5, 1.5, out or D))
    h = (x @ np.asarray(layer.linear.kernel[...])).reshape(N, heads, -1)
    sent, received = ((h * np.asarray(a[...])).sum(-1) for a in (layer.att_sender, layer.att_receiver))
    score = sent[None] + received[:, None]
    score = np.where(score > 0, score, 0.2 * score)  # [receiver, sender, H]
    weights = np.where((looped > 0)[..., None], np.exp(score), 0)
    weights /= weights.sum(1, keepdims=True)
    y = np.einsum("ijh,jhd->ihd", weights, h)
    y = y.mean(1) if merge == "mean" else y.reshape(N, -1)
    np.testing.assert_allclose(layer(x, graph), y + np.linspace(0.5, 1.5, out or D), rtol=1e-12)
    (exported,) = layer.attention(x, graph, None, EVALUATION)
    ids = np.asarray(exported.receivers), np.asarray(exported.senders)
    np.testing.assert_allclose(exported.weights, weights[ids], rtol=1e-12)
    np.testing.assert_allclose(exported.scores, score[ids], rtol=1e-12)


def test_gat_drops_each_attention_weight_of_each_head_by_itself(data):
    graph = data[0]
    layer = to_float64(GAT(D, OUT, heads=2, rate=0.6, rngs=nnx.Rngs(0)))
    layer.linear.kernel.set_value(jnp.ones((D, OUT)))
    ones = jnp.full((N, D), 1 / D)  # every value 1: a node's output is the sum of its weights that are left
    count = np.asarray(jnp.diff(graph.looped.row_ptr))
    kept = np.stack([np.asarray(layer(ones, graph, context=Context(key=jax.random.key(k)))) for k in range(400)])
    kept = kept.reshape(400, N, 2, -1) * count[:, None, None] * 0.4
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-9)
    assert (kept == kept[..., :1]).all(), "a head's weight is kept or dropped for the whole vector"
    by_node = np.round(kept[..., 0])
    assert (by_node[..., 0] != by_node[..., 1]).mean() > 0.3, "each head has its own"
    several = count > 1
    partial = (by_node > 0) & (by_node < count[:, None])
    assert partial[:, several].mean() > 0.3, "each edge has its own"
    np.testing.assert_allclose(by_node.mean((0, 2)) / count, 0.4, atol=0.06)


def test_gat_drops_values_and_not_the_scores_they_make(data):
    graph, _, _, x = data
    layer = to_float64(GAT(D, OUT, heads=2, value_rate=0.6, rngs=nnx.Rngs(0)))
    h = (x @ np.asarray(layer.linear.kernel[...])).reshape(N, 2, -1)
    weights = np.zeros((N, N, 2))
    (attention,) = layer.attention(x, graph, None, EVALUATION)
    weights[np.asarray(attention.receivers), np.asarray(attention.senders)] = attention.weights
    y = np.asarray(layer(x, graph, context=Context(key=jax.random.key(0)))).reshape(N, 2, -1)
    values = np.stack([np.linalg.solve(weights[:, :, k], y[:, k]) for k in range(2)], 1)
    ratio = values / h * 0.4  # 1 or 0
    np.testing.assert_allclose(ratio, np.round(ratio), atol=1e-6)
    assert set(np.round(ratio).ravel()) == {0.0, 1.0} and 0.2 < ratio.mean() < 0.6


def test_heads_must_divide():
    with pytest.raises(ValueError, match="gat.*heads=3"):
        GAT(D, heads=3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="gat.*heads=3 does not divide the width D=8"):
        GAT(D, OUT, heads=3, rngs=nnx.Rngs(0))
    assert GAT(D, 7, heads=3, merge="mean", rngs=nnx.Rngs(0)).bias.shape == (7,)
    with pytest.raises(ValueError, match="gat.*merge='avg'"):
        GAT(D, heads=2, merge="avg", rngs=nnx.Rngs(0))
