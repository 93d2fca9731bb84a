"""Nodes of a batch of graphs in blocks and back; attention in blocks is in `test_histograph.py`."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from fusion_jax.graphs import Graph
from fusion_jax.nn.within_graph import blocks
from tests.nn.reference import close, normal

BATCH = Graph.create([0], [1], np.array([3, 0, 2, 1]))


def test_blocks_hold_each_graph_and_give_its_nodes_back():
    x = normal(6, 2)
    for graph in (BATCH, dataclasses.replace(BATCH, largest=0)):
        held = blocks(graph, 6)
        rows = held.gather(x)
        close(rows[0, :3], x[:3])
        close(rows[2, :2], x[3:5])
        assert held.valid.sum(1).tolist() == [3, 0, 2, 1]
        assert not np.any(np.asarray(rows)[~np.asarray(held.valid)])
        close(held.scatter(rows), x)
    assert blocks(BATCH, 6).rows.shape == (4, 3)


def test_rows_that_stand_for_no_node_are_not_valid_and_no_graph_is_one_block():
    some = dataclasses.replace(BATCH, present=jnp.array([True, False, True, False, True, False]))
    assert blocks(some, 6).valid.sum(1).tolist() == [2, 0, 1, 0]
    single = dataclasses.replace(Graph.create([0], [1], 3), present=jnp.array([True, False, True]))
    assert blocks(single, 3).valid.tolist() == [[True, False, True]]
    held = blocks(None, 6)
    assert held.valid.shape == (1, 6) and bool(held.valid.all())
