"""Distances in blocks, against breadth-first search."""

import numpy as np
import pytest

from fusion_jax.graphs import Graph
from fusion_jax.structures import distances
from fusion_jax.structures.base import Structure, derive
from tests.structures import cases


def brute(graph):
    """[N, N], inf where there is no path or a row is not present."""
    a = cases.undirected(graph) > 0
    found = np.full(a.shape, np.inf)
    for i in np.flatnonzero(cases.present(graph)):
        reach, d = np.eye(len(a), dtype=bool)[i], 0
        while reach.any():
            found[i, reach] = d
            reach, d = a[reach].any(0) & ~np.isfinite(found[i]), d + 1
    return found


@pytest.mark.parametrize("absent", [0, 4])
@pytest.mark.parametrize("cutoff", [1, 3, 20])
def test_they_are_those_of_the_definition(cutoff, absent, monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 40)  # several blocks of rows
    graph = cases.batch(1, degree=1.2, absent=absent)
    found, expected = cases.made(graph, "distances", cutoff=cutoff), brute(graph)
    assert cutoff != 20 or expected[np.isfinite(expected)].max() > 3
    ids, there = cases.graph_ids(graph), cases.present(graph)
    assert found.members.shape[1] == max(there[ids == g].sum() for g in range(len(cases.N_NODE)))
    for g, (row, valid) in enumerate(zip(found.members, found.valid, strict=True)):
        own = row[valid]
        np.testing.assert_array_equal(own, np.flatnonzero((ids == g) & there))
        np.testing.assert_array_equal(found.local[own], np.arange(len(own)))
        block = found.hops[g]
        np.testing.assert_array_equal(block[valid][:, valid], np.minimum(expected[own][:, own], cutoff))
        assert (block[~valid] == cutoff).all() and (block[:, ~valid] == cutoff).all()
    assert found.hops.dtype == np.int8 and (found.members[~found.valid] == graph.num_nodes).all()


def test_permuted_nodes_keep_their_distances():
    graph, order = cases.batch(2, n_node=(15,)), np.random.default_rng(0).permutation(15)
    moved = cases.host(cases.made(graph, "distances").permuted(order))
    place = moved.local  # of the nodes in their new order
    np.testing.assert_array_equal(moved.members[0, place], np.arange(15))
    between = moved.hops[0][place][:, place]
    np.testing.assert_array_equal(between, np.minimum(brute(graph), 20)[order][:, order])


def test_too_many_pairs_name_the_largest_graph():
    graph = Graph.create(np.array([0]), np.array([1]), np.array([2, 4]))
    assert cases.made(graph, "distances", limit=32).report() == dict(largest=4, pairs=20, joined=2)
    with pytest.raises(ValueError, match="2 x 4 x 4 pairs, more than limit=31; graph 1 has 4 nodes"):
        derive([graph], [Structure("distances", {"limit": 31})])


@pytest.mark.parametrize("options", [dict(cutoff=0), dict(cutoff=128), dict(cutoff=2.0), dict(limit=0)])
def test_what_does_not_fit_is_refused(options):
    with pytest.raises(ValueError, match=r"'distances': (cutoff|limit)=\d"):
        Structure("distances", options)
