"""Pairs two edges apart, against the square of the adjacency matrix."""

import numpy as np
import pytest

from fusion_jax.graphs import Graph
from fusion_jax.structures import two_hop
from fusion_jax.structures.base import Structure, derive
from tests.structures import cases


def brute(graph, exact):
    edges = cases.directed(graph)
    pairs = {(j, i) for j, k in edges for k2, i in edges if k2 == k and j != i}
    return sorted(((j, i) for j, i in pairs if not (exact and (j, i) in edges)), key=lambda e: (e[1], e[0]))


@pytest.mark.parametrize("absent", [0, 4])
@pytest.mark.parametrize("exact", [True, False])
def test_pairs_are_those_of_the_definition(exact, absent, monkeypatch):
    monkeypatch.setattr(two_hop, "BLOCK", 7)  # several blocks of receivers
    for seed in range(4):
        graph = cases.batch(seed, absent=absent)
        pairs, expected = cases.made(graph, "two_hop", exact=exact), brute(graph, exact)
        assert list(zip(pairs.senders.tolist(), pairs.receivers.tolist(), strict=True)) == expected
        assert pairs.valid.all() and pairs.report()["pairs"] == len(expected)
        for i in range(graph.num_nodes):
            own = slice(int(pairs.row_ptr[i]), int(pairs.row_ptr[i + 1]))
            assert pairs.senders[own].tolist() == [j for j, r in expected if r == i]


def test_seeds_with_fewer_pairs_have_padding_at_the_end():
    few, many = cases.batch(0, degree=1.0), cases.batch(1, degree=4.0)
    declared = Structure("two_hop")
    pairs, other = (cases.host(g.structure(declared)) for g in derive([few, many], [declared]))
    count = len(brute(few, True))
    assert len(other.senders) == len(pairs.senders) > count == int(pairs.row_ptr[-1])
    np.testing.assert_array_equal(pairs.valid, np.arange(len(pairs.senders)) < count)
    for ids in (pairs.senders, pairs.receivers):
        assert (ids[count:] == few.num_nodes).all()


def test_permuted_nodes_have_the_permuted_pairs():
    graph = cases.batch(2, n_node=(15,))
    order = np.random.default_rng(0).permutation(15)
    place = np.argsort(order)
    other = Graph.create(place[np.asarray(graph.senders)], place[np.asarray(graph.receivers)], 15)
    moved, anew = cases.made(graph, "two_hop").permuted(order), cases.made(other, "two_hop")
    for field in ("senders", "receivers", "row_ptr", "valid"):
        np.testing.assert_array_equal(getattr(moved, field), getattr(anew, field), field)
        assert getattr(moved, field).dtype == getattr(anew, field).dtype


def test_too_many_pairs_name_the_hub():
    """Five nodes send to node 5, which sends to four others: twenty pairs."""
    senders, receivers = np.r_[:5, [5] * 4], np.r_[[5] * 5, 6:10]
    star = Graph.create(senders, receivers, 10)
    assert cases.made(star, "two_hop", limit=20).report() == dict(pairs=20, receivers=4, mean=5.0, largest=5)
    with pytest.raises(ValueError, match="limit=19 pairs; most paths go through node 5, .* 5 senders and 4 receivers"):
        cases.made(star, "two_hop", limit=19)
