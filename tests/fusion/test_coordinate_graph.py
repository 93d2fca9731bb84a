"""Coordinate attention over neighbourhoods: where it is the plain one, and whom a node's gate hears."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.coordinate_attention import CoordinateAttention
from fusion_jax.fusion.coordinate_graph import CoordinateGraph
from fusion_jax.graphs import Graph
from tests.helpers import shown, to_float64

N, M, D = 6, 3, 8
NOBODY = np.array([], int)


def inputs():
    return jnp.asarray(np.random.default_rng(0).normal(size=(N, M, D))), jnp.ones((N, M), bool)


def net(mechanism=CoordinateGraph):
    return to_float64(mechanism(M, D, rngs=nnx.Rngs(1)))


def chain(weight=None):
    """0 -> 1 -> 2, 3 -> 2; nodes 4 and 5 alone."""
    edges = {} if weight is None else {"weight": np.asarray(weight, np.float32)}
    return Graph.create(np.array([0, 1, 3]), np.array([1, 2, 2]), N, edges)


def test_without_edges_it_is_coordinate_attention():
    x, mask = inputs()
    mask = mask.at[2, 0].set(False)
    graph = Graph.create(NOBODY, NOBODY, np.array([4, 2]))
    one, plain = net()(x, mask, graph), net(CoordinateAttention)(x, mask, graph)
    np.testing.assert_allclose(one.tokens, plain.tokens, rtol=1e-14)
    isolated = net()(x, mask, chain()).tokens[4:]
    np.testing.assert_allclose(isolated, net(CoordinateAttention)(x, mask).tokens[4:], rtol=1e-14)


def test_the_node_gate_is_of_the_neighbourhood():
    """Node 2 is gated as a node with the mean of its own mean and of its senders' would be, once each."""
    x, mask = inputs()
    gates = shown(net()(x, mask, chain([1.0, 5.0, 0.5])), "nodes").T
    means = x.mean(1)
    around = jnp.stack([means[0], (means[0] + means[1]) / 2, means[1:4].mean(0), *means[3:]])
    expected = net().gates(x, around, mask, None, training=False).node
    np.testing.assert_allclose(gates, expected, rtol=1e-12)


def test_a_sender_without_modalities_is_left_out():
    x, mask = inputs()
    mask = mask.at[1].set(False)
    x = x.at[1].set(jnp.nan)
    gates = shown(net()(x, mask, chain()), "nodes").T
    around = x.mean(1).at[2].set((x[2].mean(0) + x[3].mean(0)) / 2)
    expected = (
        net()
        .gates(jnp.where(mask[..., None], x, 0), jnp.where(mask.any(1)[:, None], around, 0), mask, None, training=False)
        .node
    )
    np.testing.assert_allclose(gates[[0, 2, 3, 4, 5]], expected[jnp.array([0, 2, 3, 4, 5])], rtol=1e-12)
    assert not gates[1].any()


@pytest.mark.parametrize("options", [{"reduction": 0}, {"norm": "group"}])
def test_refusals(options):
    with pytest.raises(ValueError, match=f"fusion 'coordinate_graph': {next(iter(options))}="):
        CoordinateGraph(M, D, rngs=nnx.Rngs(0), **options)
