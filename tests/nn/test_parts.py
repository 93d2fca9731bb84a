"""Rows of nodes in parts and windows, and back; their derivatives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn import segment
from fusion_jax.nn.parts import along_pairs, at, in_windows, of_graphs, of_parts
from fusion_jax.structures.base import Edges, Structure, derive
from fusion_jax.structures.partition import given
from tests.nn.reference import close, derivatives, normal
from tests.structures import cases

STRUCTURES = Structure("partition", {"size": 3}), Structure("windows", {"size": 3})
GRAPH = derive([cases.batch(n_node=(7, 0, 2, 4), absent=2)], STRUCTURES)[0]
PARTS, HALOS = (GRAPH.structure(s) for s in STRUCTURES)
N = GRAPH.num_nodes
THERE = cases.present(GRAPH)
TABLES = {"parts": of_parts(PARTS), "graphs": of_graphs(PARTS)}
each = pytest.mark.parametrize("name", TABLES)


def padded(x):
    return np.concatenate([x, np.zeros((1, *x.shape[1:]), x.dtype)])


@each
def test_a_table_holds_every_present_node_once_and_gives_it_back(name):
    table, x = TABLES[name], np.asarray(normal(N, 2, 3))
    ids = np.asarray(table.ids)
    assert sorted(ids[ids < N]) == list(np.flatnonzero(THERE))
    np.testing.assert_array_equal(table.valid, ids < N)
    rows = table.gather(jnp.asarray(x))
    np.testing.assert_array_equal(rows, padded(x)[ids])
    np.testing.assert_array_equal(table.scatter(rows + 1), np.where(THERE[:, None, None], x + 1, 0))
    np.testing.assert_array_equal(table.gather(jnp.asarray(x > 0)), padded(x > 0)[ids])
    np.testing.assert_array_equal(table.scatter(table.valid), THERE)
    present = np.arange(N) % 2 == 0
    np.testing.assert_array_equal(table.there(jnp.asarray(present)), padded(present)[ids])
    np.testing.assert_array_equal(table.there(None), ids < N)


def test_parts_of_a_graph_stand_side_by_side_in_it():
    ids, of = np.asarray(TABLES["graphs"].ids), cases.graph_ids(GRAPH)
    slots = np.bincount(np.asarray(PARTS.graph), minlength=4)
    assert ids.shape == (4, slots.max(), PARTS.members.shape[1])
    for g, s in np.ndindex(*ids.shape[:2]):
        own = ids[g, s][ids[g, s] < N]
        assert (of[own] == g).all() and bool(len(own)) == (s < slots[g])


def test_seeds_with_fewer_parts_have_places_without_nodes():
    """Two seeds of one data set: of the second fewer nodes are there, so that some parts are padding."""
    there = np.arange(12) < 5
    base = cases.batch(n_node=(12,))
    both = derive([base, dataclasses.replace(base, present=jnp.asarray(there))], STRUCTURES)
    records = [g.structure(STRUCTURES[0]) for g in both]
    assert (np.asarray(records[1].size) == 0).any()
    together = jax.tree.map(lambda *a: jnp.stack(a), *records)
    x = normal(12, 2)
    back = jax.vmap(lambda parts: of_graphs(parts).scatter(of_graphs(parts).gather(x) + 1))(together)
    np.testing.assert_array_equal(back[0], x + 1)
    np.testing.assert_array_equal(back[1], np.where(there[:, None], x + 1, 0))


def test_windows_hold_their_nodes_and_false_or_zero_where_there_is_none():
    x = np.asarray(normal(N, 3))
    np.testing.assert_array_equal(in_windows(jnp.asarray(x), HALOS), padded(x)[np.asarray(HALOS.ids)])
    np.testing.assert_array_equal(at(jnp.asarray(x > 0), HALOS.ids), padded(x > 0)[np.asarray(HALOS.ids)])
    assert not np.asarray(HALOS.valid).all()


def test_derivatives_are_those_of_differences_and_no_scatter():
    x, weight = normal(N, 2), normal(*HALOS.ids.shape, 2, seed=1)
    for table in TABLES.values():
        derivatives(lambda x, table=table: table.gather(x) ** 2, x)
        derivatives(lambda y, table=table: table.scatter(y) ** 2, normal(*table.ids.shape, 2))
    derivatives(lambda x: in_windows(x, HALOS) ** 2 * weight, x)

    def loss(x):
        both = (of_graphs(PARTS).scatter(of_graphs(PARTS).gather(x) ** 2) ** 2).sum()
        return both + (in_windows(x, HALOS) ** 2 * weight).sum()

    assert "scatter" not in jax.jit(jax.grad(loss)).lower(x).as_text()
    many = jnp.stack([x, 2 * x])
    for i, d in enumerate(jax.jit(jax.vmap(jax.grad(loss)))(many)):
        close(d, jax.grad(loss)(many[i]))


def test_gathering_rows_is_indexing_and_its_gradient_the_sum_in_the_order_given():
    ids = np.array([[2, 0, 2], [3, 1, 2]])
    order, ptr = np.argsort(ids.reshape(-1), kind="stable"), np.array([0, 1, 2, 5])
    order, ptr = jnp.asarray(order, jnp.int32), jnp.asarray(ptr, jnp.int32)
    x = normal(3, 2, 2)
    close(segment.gather(x, jnp.asarray(ids), order, ptr), padded(np.asarray(x))[ids])
    derivatives(lambda x: segment.gather(x, jnp.asarray(ids), order, ptr) ** 2, x)


def test_a_partition_that_is_given():
    slot = np.array([1, 0, 1, 2, 0, 1, -1])
    graph = dataclasses.replace(cases.batch(n_node=(6, 1)), present=jnp.asarray(slot >= 0))
    parts = cases.host(given(Edges.of(graph), slot))
    assert parts.members.tolist() == [[1, 4, 7], [0, 2, 5], [3, 7, 7]]
    assert parts.graph.tolist() == [0, 0, 0] and parts.of_graph.tolist() == [[0, 1, 2], [3, 3, 3]]
    assert parts.part.tolist() == [1, 0, 1, 2, 0, 1, 3] and parts.size.tolist() == [2, 3, 1]


def test_pairs_of_a_table_are_valid_where_both_are_there_and_the_key_is_seen():
    receivers, senders = np.array([[0, 2]]), np.array([[1, 0, 2]])
    seen = jnp.asarray([[True, False, False]])
    weights = jnp.asarray(np.random.default_rng(0).random((1, 4, 2, 3)))
    found = along_pairs("a", weights, jnp.asarray(receivers), jnp.asarray(senders), seen, 2)
    assert found.valid[:, 0].tolist() == [True, False, False, False, False, False]
    close(found.weights[0], weights[0, :, 0, 0])
    assert not found.weights[1:].any() and found.weights.shape == (6, 4)
    assert found.senders.tolist() == [1, 0, 1, 1, 0, 1] and found.receivers.tolist() == [0, 0, 0, 1, 1, 1]
