"""Partitions: exactly balanced, with a small cut, and growing as nodes arrive."""

import dataclasses
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

from fusion_jax.graphs import Graph
from fusion_jax.structures.base import Structure, derive
from fusion_jax.structures.partition import balanced, evened
from tests.structures import cases

COUNTS = {
    "parts": ({"parts": 3}, lambda n: 3),
    "many": ({"parts": 12}, lambda n: 12),
    "one": ({"parts": 1}, lambda n: 1),
    "sqrt": ({"parts": "sqrt"}, lambda n: round(n**0.5)),
    "size": ({"size": 4}, lambda n: int(np.ceil(n / 4))),
}


def consistent(parts, graph):
    """That all fields tell of one partition of the present nodes; returns the members of each part."""
    parts, n, there, ids = cases.host(parts), graph.num_nodes, cases.present(graph), cases.graph_ids(graph)
    part, local, size = parts.part, parts.local, parts.size
    members = [row[valid].tolist() for row, valid in zip(parts.members, parts.valid, strict=True)]
    assert sorted(i for row in members for i in row) == np.flatnonzero(there).tolist()
    for p, row in enumerate(members):
        assert size[p] == len(row)
        assert all(part[i] == p and local[i] == place for place, i in enumerate(row))
        assert all(ids[i] == parts.graph[p] for i in row)
    assert (part[~there] == len(size)).all() and (local[~there] == 0).all()
    assert (parts.members[~parts.valid] == n).all()
    for g, row in enumerate(parts.of_graph):
        own = np.flatnonzero(parts.graph == g)
        assert row.tolist() == [*own[np.argsort(parts.slot[own])], *[len(size)] * (parts.of_graph.shape[1] - len(own))]
    assert parts.valid.shape[1] == max(map(len, members), default=0) or len(members) == 0
    return members


def share_cut(parts, graph, weighted):
    a, ids, part = cases.undirected(graph, weighted), cases.graph_ids(graph), parts.part
    apart = part[:, None] != part
    every = [a[ids == g].sum() for g in range(graph.num_graphs)]
    return [(a * apart)[ids == g].sum() / w if w else 0.0 for g, w in enumerate(every)]


@pytest.mark.parametrize("absent", [0, 4])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("how", COUNTS)
def test_each_graph_is_divided_evenly(how, weighted, absent):
    options, count = COUNTS[how]
    graph = cases.batch(absent=absent)
    parts = cases.made(graph, "partition", **options, weighted=weighted)
    members = consistent(parts, graph)
    nodes = np.bincount(cases.graph_ids(graph)[cases.present(graph)], minlength=graph.num_graphs)
    of_graph = [np.flatnonzero(parts.graph == g) for g in range(graph.num_graphs)]
    np.testing.assert_array_equal(np.concatenate(of_graph), np.arange(len(parts.size)))
    for own, n in zip(of_graph, nodes, strict=True):
        sizes = [len(members[p]) for p in own]
        assert len(own) == count(n)
        assert sum(sizes) == n and (not sizes or max(sizes) - min(sizes) <= 1)
        np.testing.assert_array_equal(parts.slot[own], np.arange(len(own)))
        first = [members[p][0] for p in own if members[p]]
        assert first == sorted(first) and all(row == sorted(row) for row in members)
    np.testing.assert_allclose(parts.cut, share_cut(parts, graph, weighted), rtol=1e-12)


def test_exact_balance_for_every_number_of_parts():
    rng = np.random.default_rng(0)
    for n, density in ((2, 0.2), (5, 0.2), (17, 0.2), (40, 0.2), (11, 0.0)):
        a = np.triu(rng.random((n, n)) < density, 1) * rng.random((n, n))
        for parts in range(1, n + 3):
            size = np.bincount(balanced(sp.csr_array(a + a.T), parts), minlength=parts)
            assert size.sum() == n and size.max() - size.min() <= 1, (n, parts)


def brute_evened(a, slot, parts):
    """The rule in plain Python; a [n, n], the largest parts keep a node more, of equals the first."""
    slot, n = list(slot), len(slot)
    sizes = [slot.count(p) for p in range(parts)]
    wanted = [n // parts] * parts
    for p in sorted(range(parts), key=lambda p: (-sizes[p], p))[: n % parts]:
        wanted[p] += 1
    while sizes != wanted:
        over = [i for i in range(n) if sizes[slot[i]] > wanted[slot[i]]]
        moves = [(i, q) for i in over for q in range(parts) if sizes[q] < wanted[q]]

        def gain(move):
            i, q = move
            return sum(a[i, j] * (int(slot[j] == q) - int(slot[j] == slot[i])) for j in range(n))

        i, q = min(moves, key=lambda move: (-gain(move), move))
        sizes[slot[i]] -= 1
        sizes[q] += 1
        slot[i] = q
    return slot


def test_nodes_are_moved_where_they_lose_least():
    rng = np.random.default_rng(0)
    for parts in (2, 3, 5):
        a = np.triu(rng.random((14, 14)) < 0.4, 1) * rng.integers(1, 5, (14, 14))
        a, slot = (a + a.T).astype(float), rng.integers(0, parts, 14) // rng.integers(1, 3, 14)
        found = evened(sp.csr_array(a), slot, parts)
        assert found.tolist() == brute_evened(a, slot.tolist(), parts) != slot.tolist()


def test_a_node_between_two_groups_goes_where_there_is_room():
    """Groups of 3 and 4, and one node that hangs on both, more on the larger."""
    groups = [(0, 1, 2), (3, 4, 5, 6)]
    pairs = [(i, j) for group in groups for i in group for j in group if i < j] + [
        (7, 0),
        (7, 1),
        (7, 6),
        (7, 5),
        (7, 4),
    ]
    graph = Graph.create(*np.array(pairs).T, 8)
    parts = cases.made(graph, "partition", parts=2)
    assert consistent(parts, graph) == [[0, 1, 2, 7], [3, 4, 5, 6]]


def test_planted_groups_are_found_and_weights_count_where_asked():
    rng = np.random.default_rng(0)
    group = rng.permutation(np.arange(60) % 3)
    senders, receivers = np.nonzero(np.triu(rng.random((60, 60)) < np.where(group[:, None] == group, 0.5, 0.02), 1))
    graph = Graph.create(senders, receivers, 60)
    found = cases.made(graph, "partition", parts=3).part
    assert len(set(zip(found, group, strict=True))) == 3
    other = rng.permutation(group)
    senders, receivers = np.triu_indices(60, 1)
    weight = np.where(other[senders] == other[receivers], 2.0, 1.0).astype(np.float32)
    whole = Graph.create(senders, receivers, 60, {"weight": weight})
    heavy = cases.made(whole, "partition", parts=3, weighted=True).part
    assert len(set(zip(heavy, other, strict=True))) == 3
    plain = cases.made(whole, "partition", parts=3).part
    assert len(set(zip(plain, other, strict=True))) > 3


def test_a_seed_is_another_partition():
    graph = cases.batch(n_node=(80,), degree=3.0)
    found = {cases.made(graph, "partition", parts=5, seed=s).part.tobytes() for s in range(4)}
    assert len(found) > 1


def test_a_permutation_takes_the_members_along():
    graph = cases.batch(absent=3)
    parts, n = cases.made(graph, "partition", parts=3), graph.num_nodes
    order = np.concatenate(
        [
            np.random.default_rng(g).permutation(np.flatnonzero(cases.graph_ids(graph) == g))
            for g in range(graph.num_graphs)
        ]
    )
    there = dataclasses.replace(graph, present=jnp.asarray(cases.present(graph)[order]))
    new = cases.host(parts.permuted(order))
    assert [[order[i] for i in row] for row in consistent(new, there)] == consistent(parts, graph)
    assert new.members.shape == parts.members.shape and (new.members == n).sum() > 0


def test_padding_over_seeds_holds_no_part():
    graphs = [cases.batch(0), cases.batch(0, absent=6)]
    declared = Structure("partition", {"size": 2})
    (few,) = (cases.host(g.structure(declared)) for g in derive(graphs, [declared])[1:])
    padding = (few.graph) == graphs[0].num_graphs
    assert padding.sum() == 3 and ((few.size)[padding] == 0).all() and ((few.slot)[padding] == 0).all()
    consistent(few, graphs[1])
    assert few.report()["parts"] == len(padding) - 3


def joined(edges, old, new, sizes):
    """{node: part} of new nodes by the rule, in plain Python; `edges` (sender, receiver), sizes {part: nodes}."""
    part, sizes, free = dict(old), dict(sizes), set(new)
    while True:
        chosen = {}
        for i in free:
            votes = {}
            for s, r in edges:
                if r == i and s in part:
                    votes[part[s]] = votes.get(part[s], 0) + edges[s, r]
            if votes:
                chosen[i] = min(votes, key=lambda p: (-votes[p], sizes[p], p))
        if not chosen:
            break
        part |= chosen
        free -= set(chosen)
        for p in chosen.values():
            sizes[p] += 1
    for i in sorted(free):
        part[i] = min(sizes, key=lambda p: (sizes[p], p))
        sizes[part[i]] += 1
    return {i: part[i] for i in new}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("options", [{"parts": 3}, {"size": 3}, {"parts": "sqrt"}], ids=str)
def test_nodes_that_arrive_join_the_part_that_most_of_their_senders_are_in(options, weighted):
    for seed in range(6):
        whole = cases.batch(seed, n_node=(30,), degree=1.5)
        here = np.random.default_rng(seed).random(30) < 0.5
        declared = Structure("partition", {**options, "weighted": weighted})
        (before,) = derive([dataclasses.replace(whole, present=jnp.asarray(here))], [declared])
        (after,) = derive([whole], [declared], earlier=[before])
        old, new = (cases.host(g.structure(declared)) for g in (before, after))
        members = consistent(new, whole)
        assert len(new.size) == len(old.size), "the number of parts is that of training"
        part = old.part
        for p, row in enumerate(members):  # the earlier ones keep their places
            kept = [int(i) for i in old.members[p] if i < 30]
            assert row[: len(kept)] == kept and row[len(kept) :] == sorted(row[len(kept) :])
        edges = {e: w if weighted else 1 for e, w in cases.directed(whole).items()}
        known = {int(i): int(part[i]) for i in np.flatnonzero(here)}
        expected = joined(edges, known, np.flatnonzero(~here).tolist(), dict(enumerate(old.size.tolist())))
        assert {i: int(new.part[i]) for i in expected} == expected
        np.testing.assert_allclose(new.cut, share_cut(new, whole, weighted), rtol=1e-12)


def test_seeds_with_other_training_nodes_have_other_parts_in_one_evaluation():
    whole = cases.batch(1, n_node=(30,))
    declared = Structure("partition", {"parts": 3})
    here = [np.random.default_rng(seed).random(30) < 0.6 for seed in range(2)]
    before = derive([dataclasses.replace(whole, present=jnp.asarray(h)) for h in here], [declared])
    after = derive([whole, whole], [declared], earlier=before)
    for old, new, h in zip(before, after, here, strict=True):
        np.testing.assert_array_equal(old.structure(declared).part[h], new.structure(declared).part[h])


def test_a_graph_that_arrives_whole_is_cut_as_by_itself():
    whole = cases.batch(n_node=(9, 6, 8))
    here = cases.graph_ids(whole) != 1
    for options in ({"parts": 3}, {"size": 3}):
        declared = Structure("partition", options)
        (before,) = derive([dataclasses.replace(whole, present=jnp.asarray(here))], [declared])
        (after,) = derive([whole], [declared], earlier=[before])
        (anew,) = derive([whole], [declared])
        np.testing.assert_array_equal(after.structure(declared).part, anew.structure(declared).part)
        consistent(after.structure(declared), whole)


def test_without_metis_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymetis", None)
    with pytest.raises(ImportError, match=r"needs METIS: pip install 'fusion_jax\[partition\]'"):
        cases.made(cases.batch(), "partition", parts=3)
