"""Who is there, who sends and who is reached."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.graphs import Graph
from fusion_jax.nn.presence import reached, reached_by_weight, reached_in_graph, sending, zero_absent
from tests.nn.reference import N, close, graph, normal

PRESENT = np.array([False, True, False, False, False, True])  # 1 sends to itself and to 0


def test_what_is_absent_is_0_even_if_it_is_nan():
    x = normal(N, 2, 3)
    assert zero_absent(x, None) is x
    hidden = jnp.where(PRESENT[:, None, None], x, jnp.nan)
    close(zero_absent(hidden, jnp.asarray(PRESENT)), np.where(PRESENT[:, None, None], x, 0))
    each = np.arange(2 * N).reshape(N, 2) % 3 > 0
    close(zero_absent(x, jnp.asarray(each)), np.where(each[..., None], x, 0))


def test_edges_that_send():
    g = graph()
    assert sending(None, g) is None
    np.testing.assert_array_equal(sending(jnp.asarray(PRESENT), g), PRESENT[np.asarray(g.senders)])


def test_whom_a_round_of_messages_reaches():
    g = graph()
    assert np.flatnonzero(reached(jnp.asarray(PRESENT), g)).tolist() == [0, 1, 5]
    assert np.flatnonzero(reached(jnp.asarray(PRESENT), g, g.senders == g.receivers)).tolist() == [1, 5]
    assert reached(jnp.ones(N, bool), g).all() and not reached(jnp.zeros(N, bool), g).any()
    two = jnp.stack([jnp.asarray(PRESENT), jnp.arange(N) == 2], 1)
    assert np.argwhere(reached(two, g)).tolist() == [[0, 0], [1, 0], [2, 1], [3, 1], [5, 0]]


@pytest.mark.parametrize("weighted", [True, False])
def test_an_edge_of_weight_0_carries_nothing(weighted):
    first = jnp.arange(N) == 0  # sends to 2, and with weight 0 to 4
    expected = [0, 2] if weighted else [0, 2, 4]
    assert np.flatnonzero(reached_by_weight(first, graph(weighted))).tolist() == expected
    assert np.flatnonzero(reached(first, graph(weighted))).tolist() == [0, 2, 4]


def test_all_of_a_graph_are_reached_by_anybody_of_it_but_rows_that_are_no_node():
    batch = Graph.create([0], [1], np.array([3, 0, 2]))
    one = jnp.arange(5) == 1
    assert reached_in_graph(one, batch).tolist() == [True, True, True, False, False]
    some = dataclasses.replace(batch, present=jnp.arange(5) != 2)
    two = jnp.stack([one, jnp.arange(5) == 4], 1)
    assert np.argwhere(reached_in_graph(two, some)).tolist() == [[0, 0], [1, 0], [3, 1], [4, 1]]
