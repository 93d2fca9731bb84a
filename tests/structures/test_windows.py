"""Windows: the members of a part, then all from which messages reach it within some hops."""

import dataclasses

import numpy as np
import pytest

from fusion_jax.graphs import Graph
from fusion_jax.structures.base import Structure, derive
from tests.structures import cases


def both(graph, hops, **options):
    structures = [Structure("windows", {**options, "hops": hops}), Structure("partition", options)]
    (found,) = derive([graph], structures)
    return [cases.host(found.structure(s)) for s in structures]


def brute(graph, members, hops):
    edges, window = cases.directed(graph), set(members)
    for _ in range(hops):
        window |= {s for s, r in edges if r in window}
    return members + sorted(window - set(members))


@pytest.mark.parametrize("absent", [0, 4])
@pytest.mark.parametrize("hops", [0, 1, 2, 5])
@pytest.mark.parametrize("options", [{"parts": 4}, {"size": 3}, {"parts": "sqrt"}], ids=str)
def test_windows_are_those_of_the_definition(options, hops, absent):
    graph = cases.batch(absent=absent)
    windows, parts = both(graph, hops, **options)
    expected = []
    for p in range(len(parts.size)):
        members = [int(i) for i in parts.members[p] if i < graph.num_nodes]
        expected.append(brute(graph, members, hops))
        row, valid, inside = windows.ids[p], windows.valid[p], windows.inside[p]
        assert row[valid].tolist() == expected[-1] and valid.sum() == valid.argmin() or valid.all()
        assert row[inside].tolist() == members and (row[~valid] == graph.num_nodes).all()
    assert windows.ids.shape == (len(expected), max(map(len, expected)))
    in_order(windows, graph.num_nodes)
    sizes = parts.size
    total = sum(map(len, expected))
    report = windows.report()
    assert report["halo"] == pytest.approx((total - sizes.sum()) / (sizes > 0).sum())
    assert report["ratio"] == pytest.approx(total / sizes.sum())
    assert report["largest"] == max(map(len, expected))


def test_a_halo_is_made_of_senders():
    """On the path 0 -> 1 -> ... -> 5 cut in the middle the first half hears nothing, the second of one or two."""
    path = Graph.create(np.arange(5), np.arange(1, 6), 6)
    for hops, halo in ((1, [2]), (2, [1, 2])):
        windows, _ = both(path, hops, parts=2)
        rows = [r[v].tolist() for r, v in zip(windows.ids, windows.valid, strict=True)]
        assert rows == [[0, 1, 2], [3, 4, 5, *halo]]


def test_a_permutation_takes_the_ids_along():
    graph = cases.batch(n_node=(12,))
    windows, _ = both(graph, 1, parts=3)
    order = np.random.default_rng(0).permutation(12)
    x = np.random.default_rng(1).normal(size=13)
    x[-1] = 0
    moved = cases.host(windows.permuted(order))
    np.testing.assert_array_equal(np.append(x[order], 0)[moved.ids], x[windows.ids])
    for record in (windows, moved):
        in_order(record, 12)


def in_order(windows, nodes):
    """That the places of every node are listed, ascending, and those of none behind them."""
    flat, count = windows.ids.reshape(-1), len(windows.node_ptr) - 1
    assert count == nodes and sorted(windows.by_node.tolist()) == list(range(flat.size))
    for i in range(nodes):
        places = windows.by_node[slice(*windows.node_ptr[i : i + 2])]
        assert places.tolist() == np.flatnonzero(flat == i).tolist()
    assert windows.node_ptr[0] == 0 and (flat[windows.by_node[windows.node_ptr[-1] :]] == nodes).all()


def test_windows_of_an_extended_partition_have_the_nodes_that_arrived():
    graph = cases.batch(3, n_node=(20,))
    structures = [Structure("windows", {"parts": 3}), Structure("partition", {"parts": 3})]
    (before,) = derive([dataclasses.replace(graph, present=np.arange(20) < 12)], structures)
    (after,) = derive([graph], structures, earlier=[before])
    windows, parts = (cases.host(after.structure(s)) for s in structures)
    for p in range(3):
        members = [int(i) for i in parts.members[p] if i < 20]
        assert windows.ids[p][windows.valid[p]].tolist() == brute(graph, members, 1)
    earlier = np.asarray(before.structure(structures[1]).part)
    np.testing.assert_array_equal(parts.part[:12], earlier[:12])
