"""SpatialGlue: more than two modalities, missing ones, and degenerate graphs."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.spatialglue import SpatialGlue
from fusion_jax.graphs import Graph
from tests.helpers import shown, small_graph, to_float64

N, M, D = 7, 3, 4


def build(m=M, **options):
    return to_float64(SpatialGlue(m, D, rngs=nnx.Rngs(0), **options))


def inputs():
    rng = np.random.default_rng(1)
    mask = rng.random((N, M)) < 0.7
    mask[0] = False
    return rng.normal(size=(N, M, D)), mask


def with_views():
    shared = small_graph(N)
    views = tuple(small_graph(N, 12, seed=1 + m) for m in range(M))
    return Graph.create(np.asarray(shared.senders), np.asarray(shared.receivers), N, views=views)


def adjacency(graph):
    a = np.zeros((N, N))
    np.add.at(a, (np.asarray(graph.receivers), np.asarray(graph.senders)), 1)
    np.fill_diagonal(a, 1)
    return a


def dense(graph, present):
    """D^-1/2 (A + I) D^-1/2 of the columns of present nodes, degrees of the receivers; parallel edges add up."""
    a = adjacency(graph) * present
    scale = np.maximum(a.sum(1), 1) ** -0.5
    return scale[:, None] * a * scale


def attend(module, e, mask=None):
    logits = (np.tanh(e @ np.asarray(module.w_omega.kernel[...])) @ np.asarray(module.u_omega.kernel[...]))[..., 0]
    a = np.exp(logits) * (1 if mask is None else mask)
    a = a / np.maximum(a.sum(-1, keepdims=True), 1e-300)
    return (a[..., None] * e).sum(-2), a


def test_three_modalities_against_dense_matrices():
    module, graph = build(), with_views()
    x, mask = inputs()
    x = np.where(mask[..., None], x, 0)

    def kernel(layers, m):
        return np.asarray(layers[m].kernel[...])

    tokens = []
    for m in range(M):
        h = x[:, m] @ kernel(module.encoders, m)
        both = [dense(g, mask[:, m]) @ h for g in (graph, graph.view(m))]
        token = attend(module.atten_omics[m], np.stack(both, 1))[0]
        tokens.append(token * mask[:, [m]])
    out, across = attend(module.atten_cross, np.stack(tokens, 1), mask)
    reconstruction = correspondence = 0.0
    for m in range(M):
        present = mask[:, m]
        error = dense(graph, mask.any(1)) @ out @ kernel(module.decoders, m) - x[:, m]
        reconstruction += (error[present] ** 2).mean()
        for j in set(range(M)) - {m}:
            there = dense(graph, present) @ tokens[m] @ kernel(module.decoders, j)
            again = dense(graph, (adjacency(graph) * present).any(1)) @ there @ kernel(module.encoders, j)
            correspondence += ((again - tokens[m])[present] ** 2).mean() / (M - 1)
    fused = module(x, mask, graph)
    np.testing.assert_allclose(fused.tokens, np.stack(tokens, 1), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(fused.out, out, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(shown(fused, "modalities"), across, rtol=1e-10)
    np.testing.assert_allclose(fused.losses["reconstruction"], reconstruction, rtol=1e-10)
    np.testing.assert_allclose(fused.losses["correspondence"], correspondence, rtol=1e-10)


def test_one_graph_for_both_gives_equal_weights_and_is_refused():
    x, mask = inputs()
    graph = small_graph(N)
    with pytest.raises(ValueError, match="fusion 'spatialglue' needs one edge set a modality.*data.views"):
        build()(x, mask, graph)
    fused = build()(x, mask, dataclasses.replace(graph, views=(graph,) * M))
    np.testing.assert_allclose(shown(fused, "graphs"), 0.5, rtol=1e-14)
    different = shown(build()(x, mask, with_views()), "graphs")
    assert np.abs(different - 0.5).max() > 1e-3


def test_without_edges_every_node_is_by_itself():
    module = build()
    x, mask = inputs()
    none = Graph.create(np.zeros(0, np.int32), np.zeros(0, np.int32), N)
    tokens = module(x, mask, dataclasses.replace(none, views=(none,) * M)).tokens
    for m in range(M):
        alone = np.where(mask[:, [m]], x[:, m] @ module.encoders[m].kernel[...], 0)
        np.testing.assert_allclose(tokens[:, m], alone, rtol=1e-12)


def test_losses_can_be_left_out_and_targets_are_constants():
    x, mask = inputs()
    graph = with_views()
    assert build(reconstruction=0.0, correspondence=0.0)(x, mask, graph).losses == {}
    module = build(reconstruction=2.0, correspondence=0.0)
    for decoder in module.decoders:
        decoder.kernel.set_value(0 * decoder.kernel[...])

    def loss(x):
        return module(x, mask, graph).losses["reconstruction"]

    expected = 2 * sum((x[mask[:, m], m] ** 2).mean() for m in range(M))
    np.testing.assert_allclose(loss(x), expected, rtol=1e-12)
    np.testing.assert_array_equal(jax.grad(loss)(x), 0)


def test_one_modality_is_its_token():
    x, mask = inputs()
    fused = build(1)(x[:, :1], mask[:, :1], dataclasses.replace(small_graph(N), views=(small_graph(N, seed=1),)))
    np.testing.assert_array_equal(fused.out, fused.tokens[:, 0])
    assert set(fused.losses) == {"reconstruction"}
