"""M2FNet: what the golden cases cannot show."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.m2fnet import M2FNet
from fusion_jax.graphs import Graph
from tests import helpers
from tests.helpers import shown

N, M, D = 6, 3, 8


def net(layers=2, **options):
    return helpers.to_float64(M2FNet(M, D, layers=layers, heads=2, rngs=nnx.Rngs(0), **options))


def inputs(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(N, M, D)))


def test_a_node_by_itself():
    """With no sender but itself u = W_O W_V f: the other modalities do not reach f."""
    fusion, x = net(layers=1), inputs()
    graph = Graph.create(np.array([], int), np.array([], int), N)
    mask = jnp.ones((N, M), bool)
    one, other = fusion(x, mask, graph), fusion(x.at[:, 1:].multiply(-3.0), mask, graph)
    np.testing.assert_allclose(one.tokens[:, 0], other.tokens[:, 0], rtol=1e-12, atol=1e-14)
    assert np.abs(one.out - other.out).max() > 1e-3  # they stand beside f in the head
    f, layer = x[:, 0], fusion.layers[0]
    u = [mha.out(mha.value(f)) for mha in layer.attentions]
    np.testing.assert_allclose(one.tokens[:, 0], layer.fc(jnp.concatenate([u[0], f, u[1]], -1)), rtol=1e-12)


def test_equal_keys():
    """A key modality that is the same everywhere gives every sender that has it the same weight, others 0."""
    fusion, graph = net(), helpers.small_graph(N, 15)
    x = inputs().at[:, 1].set(0.7)
    mask = jnp.ones((N, M), bool).at[jnp.array([0, 2]), 1].set(False)
    weights = shown(fusion(x, mask, graph), "fusion")[:, 0, 0]  # [E', H]
    senders, receivers = np.asarray(graph.looped.senders), np.asarray(graph.looped.receivers)
    has = np.asarray(mask[senders, 1])
    count = np.bincount(receivers, has, minlength=N)[receivers]
    expected = np.where(has, 1 / np.maximum(count, 1), 0)[:, None]
    assert not has.all()
    np.testing.assert_allclose(weights, np.broadcast_to(expected, weights.shape), rtol=1e-12)


def test_other_modality_is_key_only():
    """f sees another modality through the weights alone: a change of x_1 that no key sees changes nothing."""
    fusion, graph, x, mask = net(), helpers.small_graph(N, 15), inputs(), jnp.ones((N, M), bool)
    for layer in fusion.layers:
        layer.attentions[0].key.kernel.set_value(jnp.zeros((D, D)))
    one, other = fusion(x, mask, graph), fusion(x.at[:, 1].add(1.0), mask, graph)
    np.testing.assert_array_equal(one.tokens[:, 0], other.tokens[:, 0])
    np.testing.assert_array_equal(other.tokens[:, 1:], x.at[:, 1].add(1.0)[:, 1:])


def test_anchor():
    """Anchor 1 on swapped modalities is anchor 0: only the head's blocks, [f; others], keep their order."""
    graph, x, mask = helpers.small_graph(N, 15), inputs(), jnp.ones((N, M), bool).at[1, 0].set(False)
    order = jnp.array([1, 0, 2])
    one, other = net()(x, mask, graph), net(anchor=1)(x[:, order], mask[:, order], graph)
    np.testing.assert_array_equal(one.out, other.out)
    np.testing.assert_array_equal(one.tokens, other.tokens[:, order])


def test_missing_anchor():
    """A node without the anchor starts from the learned vector."""
    fusion, graph, x, mask = net(), helpers.small_graph(N, 15), inputs(), jnp.ones((N, M), bool)
    filled = fusion(x.at[2, 0].set(fusion.missing[...].astype(x.dtype)), mask, graph)
    np.testing.assert_array_equal(fusion(x, mask.at[2, 0].set(False), graph).out, filled.out)


@pytest.mark.parametrize("options", [{"heads": 3}, {"anchor": 3}])
def test_refusals(options):
    with pytest.raises(ValueError, match="m2fnet"):
        M2FNet(M, D, rngs=nnx.Rngs(0), **options)
