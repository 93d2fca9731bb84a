"""A model in blocks of nodes is the model: every layer and fusion that is let in, at every placement, for any block."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.fusion.base import Fusion
from fusion_jax.model.in_blocks import block_edges, in_blocks
from fusion_jax.plan import Named
from fusion_jax.training.sampled import with_strength
from tests import neighbours

ROWS = 5  # does not divide the number of nodes
FUSIONS = sorted(name for name in zoo.names("fusion") if zoo.get("fusion", name).nodes is Fusion.nodes)


def compared(model, batch, rows=ROWS):
    most = block_edges(np.asarray(batch.graph.row_ptr), rows) if batch.graph is not None else 1
    held = nnx.split(model)

    @jax.jit
    def both(batch):
        model = nnx.merge(*held, copy=True)
        return in_blocks(model, batch, rows=rows, edges=most), model(batch)

    found, whole = both(batch)
    for name in ("prediction", "streams", "uncertainty", "evidence"):
        one, other = getattr(found, name), getattr(whole, name)
        assert jax.tree.structure(one) == jax.tree.structure(other)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(found.present, whole.present)
    return whole


@pytest.mark.parametrize(("layer", "placement"), neighbours.EVERY)
def test_every_layer_at_every_placement(layer, placement):
    graph = with_strength(neighbours.graph())
    compared(neighbours.model(placement, layer), neighbours.batch(graph, 0.0 if layer == "gcn" else 0.3))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_that_is_written_for_one_node(fusion):
    placements = zoo.get("fusion", fusion).placements
    placement = "decision" if zoo.get("fusion", fusion).loss else "after" if "after" in placements else placements[0]
    options = zoo.options("fusion", fusion)
    options |= {"heads": 2} if options.get("heads", 1) > neighbours.WIDTH else {}  # more than there are columns
    model = neighbours.model(placement, "sage", fusion=Named(fusion, options), layers=0)
    compared(model, neighbours.batch(neighbours.graph()))


@pytest.mark.parametrize("rows", [1, neighbours.NODES])
def test_blocks_of_any_size(rows):
    compared(neighbours.model("after", "gat"), neighbours.batch(neighbours.graph()), rows)


@pytest.mark.parametrize("more", [{"missing": "learned"}, {"presence": "own"}, {"head": "none"}, {"layers": 0}])
def test_policies_and_heads(more):
    placement = "after" if "presence" in more else "before"
    compared(neighbours.model(placement, "sage", **more), neighbours.batch(neighbours.graph()))


def test_rows_that_stand_for_no_node_and_data_without_a_graph():
    graph = neighbours.graph(weights=False)
    there = np.arange(neighbours.NODES) != 4
    graph = dataclasses.replace(graph, present=there, looped=dataclasses.replace(graph.looped, present=there))
    batch = neighbours.batch(graph, 0.0)
    batch = batch.with_mask(batch.mask & there[:, None])
    compared(neighbours.model("before", "sage", missing="zeros"), batch)
    compared(neighbours.model("after", "none"), batch.with_graph(None))


def test_no_block_has_more_edges_than_are_said():
    ptr = np.array([0, 3, 3, 9, 10, 10])
    assert [block_edges(ptr, rows) for rows in (1, 2, 5)] == [6, 7, 10] and block_edges(np.zeros(4, int), 2) == 1
