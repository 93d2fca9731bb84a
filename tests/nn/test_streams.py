"""Channel attention and bottlenecks of streams kept apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.streams import Bottleneck, ChannelAttention, GroupedBottleneck
from tests.helpers import parameters, small_graph, to_float64

N, M, D = 7, 3, 8


def inputs(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(N, M, D))), jnp.ones((N, M), bool)


def attention(**options):
    return to_float64(ChannelAttention(D, reduction=4, rngs=nnx.Rngs(0), **options))


def relu(x):
    return np.maximum(x, 0)


def test_channel_attention_by_hand():
    """Mean and maximum over a graph's nodes that are there, through one pair of maps; a graph of none has 1/2."""
    z, present = inputs()[0][:, 0], np.array([1, 1, 0, 1, 0, 0, 0], bool)
    ca, graph = attention(), Graph.create(np.array([], int), np.array([], int), np.array([4, 3]))
    rows = np.asarray(z)[[0, 1, 3]]
    w1, w2 = (np.asarray(parameters(ca)[f"fc.fc{i}.kernel"][...]) for i in (1, 2))
    logits = sum(relu(pooled @ w1) @ w2 for pooled in (rows.mean(0), rows.max(0)))
    gates = ca.of(jnp.where(present[:, None], z, 1e6), jnp.asarray(present), graph)
    np.testing.assert_allclose(gates[0], 1 / (1 + np.exp(-logits)), rtol=1e-12)
    np.testing.assert_array_equal(gates[1], 0.5)
    assert "fc.fc1.bias" not in parameters(ca)


def test_zero_weights_gate_by_a_half():
    ca, (x, mask) = attention(), inputs()
    ca.fc.fc2.kernel.set_value(jnp.zeros_like(ca.fc.fc2.kernel[...]))
    np.testing.assert_array_equal(ca.of(x[:, 0], mask[:, 0], None), 0.5)


def test_hidden_width():
    for dim, reduction, width in ((64, 16, 4), (8, 16, 1), (32, 8, 4)):
        made = ChannelAttention(dim, reduction=reduction, rngs=nnx.Rngs(0))
        assert made.fc.fc1.kernel.shape == (dim, width)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_streams_never_mix(norm):
    """Another second stream leaves the first and third as they are, to the bit, in training too."""
    module = to_float64(GroupedBottleneck(M, D, norm=norm, rngs=nnx.Rngs(0)))
    (x, mask), graph = inputs(), small_graph(N)
    for training in (False, True):
        one = module(x, mask, graph, training=training)
        two = module(x.at[:, 1].multiply(-3.0), mask, graph, training=training)
        np.testing.assert_array_equal(one[:, [0, 2]], two[:, [0, 2]])
        assert np.abs(one[:, 1] - two[:, 1]).max() > 0.1


def test_order_is_norm_relu_map():
    """R(z) - z is the last bias where the last norm's scale is 0 and its shift negative; z passes by itself."""
    module, (x, mask) = to_float64(Bottleneck(D, norm="batch", rngs=nnx.Rngs(0))), inputs()
    module.bn3.scale.set_value(jnp.zeros(D // 2))
    module.bn3.bias.set_value(jnp.full(D // 2, -1.0))
    module.conv3.bias.set_value(jnp.arange(D, dtype=jnp.float64))
    out = module(x[:, 0], mask[:, 0], small_graph(N), training=False)
    np.testing.assert_allclose(out - x[:, 0], np.broadcast_to(np.arange(D), (N, D)), atol=1e-12)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_absent_nodes_are_not_there(norm):
    """A node that is absent sends nothing and is in no statistic: others get what they would in the smaller graph."""
    rng = np.random.default_rng(3)
    s, r = rng.integers(0, N, 20), rng.integers(0, N, 20)
    kept = (s != 3) & (r != 3)
    rank = np.arange(N) - (np.arange(N) > 3)
    rows = np.delete(np.arange(N), 3)
    z, present = inputs()[0][:, 0].at[3].set(jnp.nan), jnp.ones(N, bool).at[3].set(False)

    def run(z, present, graph):
        module = to_float64(Bottleneck(D, norm=norm, rngs=nnx.Rngs(0)))
        return module(jnp.where(present[:, None], z, 0), present, graph, training=True)

    whole = run(z, present, Graph.create(s, r, N))
    part = run(z[rows], present[rows], Graph.create(rank[s[kept]], rank[r[kept]], N - 1))
    np.testing.assert_allclose(whole[rows], part, rtol=1e-12)
    np.testing.assert_array_equal(whole[3], 0)


def test_a_node_by_itself_and_without_a_graph():
    """Without senders the map over neighbours is that of the node alone."""
    module, (x, mask) = to_float64(Bottleneck(D, norm="batch", rngs=nnx.Rngs(0))), inputs()
    alone = Graph.create(np.array([0]), np.array([1]), N)
    one, two = (module(x[:, 0], mask[:, 0], graph, training=False) for graph in (alone, None))
    differs = np.abs(one - two).max(-1) > 1e-6
    np.testing.assert_array_equal(differs, np.arange(N) == 1)


def test_gradients_are_finite_where_all_is_absent():
    z, nobody = inputs()[0][:, 0], jnp.zeros(N, bool)
    grad = jax.grad(lambda z: attention().of(z, nobody, None).sum())(z)
    np.testing.assert_array_equal(grad, 0)
