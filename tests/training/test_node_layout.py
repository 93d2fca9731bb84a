"""Which row each node has where nodes are shared out."""

import jax
import numpy as np
import pytest

from fusion_jax.graphs import Graph
from fusion_jax.training.node_layout import layout, node_mesh

RNG = np.random.default_rng(0)


def communities(parts: int, size: int) -> Graph:
    """Cliques, and one edge from each to the next; nodes in any order."""
    order = RNG.permutation(parts * size)
    inside = [(a, b) for a in range(size) for b in range(size) if a != b]
    near = [(a + p * size, b + p * size) for p in range(parts) for a, b in inside]
    far = [(p * size, (p + 1) % parts * size) for p in range(parts)]
    senders, receivers = order[np.array(near + far)].T
    return Graph.create(senders, receivers, parts * size)


def test_parts_are_balanced_and_each_ends_with_a_row_of_no_node():
    graph = communities(4, 6)
    where = layout(graph, 5)
    assert where.parts == 5 and where.nodes == 24 and where.node.shape == (5, 6)
    sizes = (where.node < 24).sum(1)
    assert sorted(sizes) == [4, 5, 5, 5, 5] and (where.node[:, -1] == 24).all()
    np.testing.assert_array_equal(where.node.reshape(-1)[where.row], np.arange(24))


def test_parts_cut_few_edges():
    graph = communities(4, 6)
    part = layout(graph, 4).row // 7
    assert np.bincount(part).tolist() == [6] * 4
    assert (part[np.asarray(graph.senders)] != part[np.asarray(graph.receivers)]).sum() == 4


def test_more_parts_than_nodes_leave_some_empty():
    where = layout(Graph.create(np.array([0]), np.array([1]), 2), 4)
    assert (where.node < 2).sum(1).tolist() == [1, 1, 0, 0]


def test_values_of_nodes_become_those_of_rows():
    where = layout(communities(2, 3), 2)
    values = RNG.normal(size=(2, 6, 3)).astype(np.float32)
    rows = where.of_rows(values, axis=1)
    assert rows.shape == (2, 8, 3) and rows.dtype == np.float32
    np.testing.assert_array_equal(rows[:, where.row], values)
    assert not rows[:, where.node.reshape(-1) == 6].any()


def test_more_devices_than_there_are_is_an_error():
    there = len(jax.local_devices())
    with pytest.raises(
        ValueError, match=f"training.node_devices={there + 1}, expected 1 to {there}, the number of devi"
    ):
        node_mesh(there + 1)
