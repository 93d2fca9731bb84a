"""DANet beyond its golden numbers: where it starts, unlike channels, who is seen."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.danet import DANet
from fusion_jax.graphs import Graph
from tests.helpers import parameters, to_float64

RNG = np.random.default_rng(11)
M, D = 3, 6
ONE, TWO = Graph.create([0, 1, 2, 3], [1, 2, 0, 0], 5), Graph.create([0, 2], [1, 1], 4)


def both() -> Graph:
    """ONE and TWO as a batch of graphs."""
    senders, receivers = (
        [*getattr(ONE, end).tolist(), *(getattr(TWO, end) + 5).tolist()] for end in ("senders", "receivers")
    )
    return Graph.create(senders, receivers, np.array([5, 4]))


def drawn(module):
    module = to_float64(module)
    for path, variable in parameters(module).items():
        value = 0.5 * RNG.normal(size=variable.shape)
        variable.set_value(jnp.asarray(np.abs(value) + 0.5 if path.endswith("var") else value))
    return module


def inputs(n=9):
    mask = RNG.random((n, M)) < 0.7
    mask[0], mask[1] = True, False
    return jnp.asarray(np.where(mask[..., None], RNG.normal(size=(n, M, D)), 0)), jnp.asarray(mask)


def test_dual_attention_starts_as_what_is_fused_and_weighs_unlike_channels_most():
    x, mask = inputs()
    module = to_float64(DANet(M, D, rngs=nnx.Rngs(0)))
    f = np.asarray(x).sum(1) / np.maximum(np.asarray(mask).sum(1), 1.0)[:, None]
    np.testing.assert_allclose(module(x, mask, both()).out, 2 * f, rtol=1e-12)
    alike = jnp.asarray(np.array([[1.0, 1.0, -1.0], [2.0, 2.0, -2.0]]))
    module.cam.gamma[...] = jnp.ones(1)
    found = np.asarray(module.cam(alike, Graph.create([], [], 2)))
    energy = np.asarray(alike).T @ np.asarray(alike)
    weights = np.exp(-energy) / np.exp(-energy).sum(1, keepdims=True)
    np.testing.assert_allclose(found, np.asarray(alike) + np.asarray(alike) @ weights.T, rtol=1e-10)


def test_dual_attention_sees_present_nodes_of_its_graph_only():
    (x, mask), module = inputs(), drawn(DANet(M, D, rngs=nnx.Rngs(0)))
    whole = np.asarray(module(x, mask, both()).out)
    np.testing.assert_allclose(whole[:5], module(x[:5], mask[:5], ONE).out, rtol=1e-10, atol=1e-12)
    assert not whole[1].any()


def test_a_node_without_anything_is_seen_by_nobody():
    module, x = drawn(DANet(M, D, rngs=nnx.Rngs(0))), jnp.asarray(RNG.normal(size=(5, M, D)))
    there = np.array([True, True, False, True, True])
    found = module(x, jnp.asarray(there)[:, None] & jnp.ones((5, M), bool), ONE).out
    fewer = module(x[there], jnp.ones((4, M), bool), Graph.create([0, 1], [1, 0], 4)).out
    np.testing.assert_allclose(np.asarray(found)[there], fewer, rtol=1e-10)
