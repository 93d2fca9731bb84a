"""What a device holds of a graph: on one device, which holds all of it."""

import numpy as np

from fusion_jax.graphs import Graph
from fusion_jax.training.node_layout import layout, node_mesh
from fusion_jax.training.parting import exchanged_rows, parted

RNG = np.random.default_rng(0)


def test_a_parted_graph_is_the_graph_and_loops_on_rows_of_no_node():
    n, count = 11, 30
    senders, receivers = RNG.integers(0, n, (2, count))
    weight = RNG.random(count).astype(np.float32)
    graph = Graph.create(senders, receivers, n, dict(weight=weight))
    where = layout(graph, 1)
    found = parted(graph, where, node_mesh(1))
    assert found.num_nodes == 12 and found.present.tolist() == (where.node[0] < n).tolist()
    for edge_set, whole in ((found, graph), (found.looped, graph.looped)):
        ends = np.stack([edge_set.senders, edge_set.receivers])
        number = np.asarray(edge_set.parted.edges[0])
        real = number < whole.num_edges
        assert (ends[:, ~real] == 11).all() or edge_set is found.looped
        np.testing.assert_array_equal(
            where.node[0][ends[:, real]], np.stack([whole.senders, whole.receivers])[:, number[real]]
        )
        np.testing.assert_array_equal(np.asarray(edge_set.edges["weight"])[real], whole.edges["weight"][number[real]])
        assert (np.diff(edge_set.receivers) >= 0).all()
        np.testing.assert_array_equal(np.diff(edge_set.row_ptr), np.bincount(edge_set.receivers, minlength=12))
    loops = found.looped.senders == found.looped.receivers
    assert set(np.asarray(found.looped.senders)[loops].tolist()) == set(range(12)), "one loop a row"


def test_edge_sets_have_lengths_of_their_own():
    """An array is known by its length where numbers are drawn for its rows."""
    edges = [RNG.integers(0, 8, (2, 10)) for _ in range(3)]
    views = tuple(Graph.create(*ends, 8) for ends in edges[1:])
    found = parted(Graph.create(*edges[0], 8, views=views), layout(Graph.create(*edges[0], 8), 1), node_mesh(1))
    sets = [each for graph in (found, *found.views) for each in (graph, graph.looped)]
    assert len({found.num_nodes, *(each.num_edges for each in sets)}) == 7


def test_nothing_is_exchanged_with_nobody():
    graph = Graph.create(np.array([0, 1, 2]), np.array([1, 2, 2]), 4)
    assert exchanged_rows(parted(graph, layout(graph, 1), node_mesh(1))) == (0, 0)
