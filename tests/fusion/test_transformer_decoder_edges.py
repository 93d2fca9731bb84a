"""The decoder layer over edges against plain attention over an explicit list of keys."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.transformer_decoder import TransformerDecoder
from fusion_jax.fusion.transformer_decoder_edges import TransformerDecoderEdges
from fusion_jax.graphs import Graph
from tests.helpers import shown, small_graph, to_float64

N, M, D = 6, 3, 8


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    mask = rng.random((N, M)) < 0.6
    mask[0], mask[1] = False, True
    return jnp.asarray(np.where(mask[..., None], rng.normal(size=(N, M, D)), 0)), jnp.asarray(mask)


@pytest.fixture(scope="module")
def module():
    return to_float64(TransformerDecoderEdges(M, D, heads=2, rngs=nnx.Rngs(0)))


def sharing_layer(module):
    node = TransformerDecoder(M, D, heads=2, rngs=nnx.Rngs(1))
    node.layer = module.layer
    return node


def test_without_edges_it_is_the_node_version(inputs, module):
    x, mask = inputs
    alone = Graph.create(np.zeros(0, int), np.zeros(0, int), N)
    fused, node = module(x, mask, alone), sharing_layer(module)(x, mask)
    np.testing.assert_allclose(fused.out, node.out, atol=1e-12)
    np.testing.assert_allclose(np.stack([a.weights for a in fused.attention], -1), shown(node, "cross"), atol=1e-12)


def neighbours(graph, node):
    return [int(s) for s, r in zip(graph.looped.senders, graph.looped.receivers, strict=True) if r == node]


@pytest.mark.parametrize("views", [False, True])
def test_softmax_over_all_modalities_of_all_senders(inputs, module, views):
    x, mask = inputs
    graphs = [small_graph(N, 14, seed) for seed in range(M)] if views else [small_graph(N, 14)] * M
    base = small_graph(N, 14)
    if views:
        base = Graph.create(np.asarray(base.senders), np.asarray(base.receivers), N, None, tuple(graphs))
    out = module(x, mask, base).out
    for i in range(N):
        keys = [(j, m) for m in range(M) for j in neighbours(graphs[m], i)]
        memory = jnp.stack([x[j, m] for j, m in keys])
        seen = jnp.stack([mask[j, m] for j, m in keys])
        query = x[i].sum(0) / max(int(mask[i].sum()), 1)
        expected, _ = module.layer(query[None], memory, memory_mask=seen)
        np.testing.assert_allclose(out[i], expected[0], atol=1e-12)


def test_weights_sum_to_one_over_edges_and_modalities(inputs, module):
    x, mask = inputs
    graph = small_graph(N, 14)
    weights = np.stack([a.weights for a in module(x, mask, graph).attention], 1)  # [E, M, H]
    receivers, senders = np.asarray(graph.looped.receivers), np.asarray(graph.looped.senders)
    for i in range(N):
        own = np.asarray(weights)[receivers == i]
        anything = np.asarray(mask)[senders[receivers == i]].any()
        np.testing.assert_allclose(own.sum((0, 1)), float(anything), atol=1e-12)
    assert not np.asarray(weights)[~np.asarray(mask)[senders]].any()


def test_a_node_without_modalities_reads_its_senders(inputs, module):
    x, mask = inputs
    graph = Graph.create(np.array([1]), np.array([0]), N)
    moved = module(x.at[1].add(1.0), mask, graph).out
    still = module(x, mask, graph).out
    assert not np.allclose(moved[0], still[0])
    np.testing.assert_array_equal(moved[2:], still[2:])
