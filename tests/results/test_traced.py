"""A graph whose edges are arguments of a program is the one that the host makes of them, and a row more."""

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.data.base import edge_set
from fusion_jax.graphs import Graph
from fusion_jax.results.traced import joined

FIELDS = ("senders", "receivers", "row_ptr", "by_sender", "sender_ptr")


def same(found, wanted):
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(found, field), getattr(wanted, field), err_msg=field)
    np.testing.assert_array_equal(found.edges["weight"], wanted.edges["weight"])


def test_it_has_the_orders_of_the_host_with_and_without_loops():
    rng = np.random.default_rng(0)
    old = edge_set(*rng.integers(0, 6, (2, 12)), 6, {"weight": rng.uniform(1, 2, 12)})
    s, r = np.array([[6, 7, 0, 5], [0, 6, 7, 6]], np.int32)
    weight = rng.uniform(1, 2, 4).astype(np.float32)
    found = jax.jit(lambda *e: joined(old, e[0], e[1], {"weight": e[2]}, 8))(s, r, weight)
    ends = [np.concatenate(each) for each in ((old.senders, s), (old.receivers, r))]
    wanted = Graph.create(*ends, 9, {"weight": np.concatenate([old.edges["weight"], weight])})
    same(found, wanted)
    same(found.looped, wanted.looped)
    assert found.present.tolist() == [True] * 8 + [False] and found.num_nodes == 9


def test_loops_and_numbers_of_no_node_count_as_none():
    s, r = (jnp.array(ids, jnp.int32) for ids in ([0, 2, -1, 1, 9], [1, 2, -1, 7, 0]))
    found = joined(None, s, r, {}, 3)
    assert list(zip(found.senders.tolist(), found.receivers.tolist(), strict=True)) == [(0, 1)] + [(3, 3)] * 4


def test_rows_behind_all_graphs_are_not_present():
    found = joined(None, jnp.zeros(1, jnp.int32), jnp.ones(1, jnp.int32), {}, 5, jnp.array([2, 1], jnp.int32))
    assert found.present.tolist() == [True] * 3 + [False] * 3
    assert found.jraph.n_node.tolist() == [2, 4] and found.graph_ids.tolist() == [0, 0, 1, 1, 1, 1]
