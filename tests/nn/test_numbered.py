"""What is drawn for a node or an edge does not depend on the rows that stand before it."""

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.graphs import Graph
from fusion_jax.nn.dropout import keep_mask
from fusion_jax.nn.numbered import for_rows, numbered, of_one_node, positions
from fusion_jax.training.node_layout import layout, node_mesh
from fusion_jax.training.parting import parted

RNG = np.random.default_rng(0)
N, E = 9, 20
GRAPH = Graph.create(*RNG.integers(0, N, (2, E)), N)
WHERE = layout(GRAPH, 1)
PARTED = parted(GRAPH, WHERE, node_mesh(1))
KEY = jax.random.key(1)


def test_outside_and_in_a_whole_graph_rows_are_counted():
    for graph in (None, GRAPH):
        with numbered(graph):
            np.testing.assert_array_equal(positions((N + 1, 2)), np.arange(2 * N + 2).reshape(-1, 2))
    np.testing.assert_array_equal(positions(()), 0)


def test_masks_of_nodes_and_of_edges_are_those_of_the_whole_graph():
    for shape in ((N,), (N, 3), (N, 2, 5)):
        with numbered(PARTED):
            found = keep_mask(KEY, 0.4, (N + 1, *shape[1:]))
        np.testing.assert_array_equal(np.asarray(found)[WHERE.row], keep_mask(KEY, 0.4, shape))
    for edge_set, whole in ((PARTED, GRAPH), (PARTED.looped, GRAPH.looped)):
        number = np.asarray(edge_set.parted.edges).reshape(-1)
        real = number < whole.num_edges
        with numbered(PARTED):
            found = keep_mask(KEY, 0.4, (edge_set.num_edges, 2))
        expected = keep_mask(KEY, 0.4, (whole.num_edges, 2))
        np.testing.assert_array_equal(np.asarray(found)[real], np.asarray(expected)[number[real]])


def test_rows_get_what_is_drawn_for_all():
    def draw(count):
        return jax.random.normal(KEY, (count, 2))

    with numbered(PARTED):
        found = for_rows(draw, N + 1)
        other = for_rows(draw, 4)
    np.testing.assert_array_equal(np.asarray(found)[WHERE.row], draw(N))
    np.testing.assert_array_equal(other, draw(4))


def test_one_node_has_no_rows_of_nodes_and_what_was_known_comes_back():
    with numbered(PARTED):
        shared = positions((N + 1,))
        with of_one_node():
            np.testing.assert_array_equal(positions((N + 1,)), jnp.arange(N + 1))
        np.testing.assert_array_equal(positions((N + 1,)), shared)
