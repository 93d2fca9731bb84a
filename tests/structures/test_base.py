"""What holds for every structure, and how they are declared, made and read."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.structures.base import Edges, Structure, declare, derive, moved
from tests.structures import cases

DECLARED = {
    "partition": Structure("partition", {"parts": 3}),
    "windows": Structure("windows", {"size": 4, "hops": 2}),
    "quotient": Structure("quotient", {"parts": 3}),
    "eigenvectors": Structure("eigenvectors", {"k": 6}),
    "two_hop": Structure("two_hop"),
    "random_walk": Structure("random_walk", {"steps": 5}),
    "distances": Structure("distances", {"cutoff": 4}),
}
PARTS = DECLARED["partition"]


def test_every_structure_is_tested_here():
    assert sorted(DECLARED) == zoo.names("structure")


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("declared", DECLARED.values(), ids=str)
def test_the_same_twice_and_compiled_and_stacked(declared):
    graphs = [cases.batch(seed, absent=seed) for seed in range(3)]
    once, twice = derive(graphs, [declared]), derive(graphs, [declared])
    same(once, twice)
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *[g.structure(declared) for g in once])
    order = np.random.default_rng(0).permutation(graphs[0].num_nodes)
    moved_all = jax.jit(jax.vmap(lambda record: record.permuted(order)))(stacked)
    for i, g in enumerate(once):
        same(jax.tree.map(lambda a, i=i: a[i], moved_all), g.structure(declared).permuted(order))


@pytest.mark.parametrize("declared", DECLARED.values(), ids=str)
def test_a_report_is_plain_numbers(declared):
    report = cases.made(cases.batch(), declared.name, **dict(declared.options)).report()
    assert report and all(type(v) in (int, float) and np.isfinite(v) for v in report.values())


@pytest.mark.parametrize("declared", DECLARED.values(), ids=str)
def test_rows_that_are_not_present_behind_the_last_change_nothing(declared):
    graph = cases.batch(absent=3)
    n, name, options = graph.num_nodes, declared.name, dict(declared.options)
    before, after = (cases.made(g, name, **options) for g in (graph, cases.with_rows(graph, 2)))
    assert before.report() == after.report()
    for field in dataclasses.fields(before):
        a, b = (np.asarray(getattr(r, field.name)) for r in (before, after))
        if field.name in ("part", "local", "vectors", "landing"):
            b, rest = b[:n], b[n:]
            assert (rest == (len(before.size) if field.name == "part" else 0)).all()
        elif field.name in ("row_ptr", "sender_ptr", "node_ptr"):
            b, rest = b[: n + 1], b[n + 1 :]
            assert (rest == b[-1]).all()
        elif field.name in ("members", "ids", "senders", "receivers"):
            b = np.where(b == n + 2, n, b)
        np.testing.assert_array_equal(a, b, field.name)


@pytest.mark.parametrize("declared", DECLARED.values(), ids=str)
def test_graphs_without_edges_without_nodes_or_all_absent(declared):
    empty = [Graph.create(np.zeros(0, int), np.zeros(0, int), np.array(n_node)) for n_node in ([4, 1], [0, 5], [5, 0])]
    gone = dataclasses.replace(cases.batch(n_node=(5, 0)), present=jnp.zeros(5, bool))
    for graph in derive([*empty, gone], [declared]):
        report = graph.structure(declared).report()
        assert all(np.isfinite(v) for v in report.values())
    nothing = Graph.create(np.zeros(0, int), np.zeros(0, int), np.array([0, 0]))
    assert derive([nothing], [declared])[0].structure(declared).report() is not None


def test_shapes_are_those_of_the_largest_and_equal_graphs_share():
    graphs = [cases.batch(0), cases.batch(1, degree=4.0), cases.batch(0)]
    every = derive(graphs, DECLARED.values())
    for declared in DECLARED.values():
        records = [g.structure(declared) for g in every]
        assert len({str(jax.tree.map(jnp.shape, r)) for r in records}) == 1
        assert records[0] is records[2] and records[0] is not records[1]
        alone = derive(graphs[:1], [declared])[0].structure(declared)
        assert alone.report() == records[0].report()


def test_what_a_structure_is_made_from_is_made_once(monkeypatch):
    calls = []
    original = zoo.get("structure", "partition").make

    def counted(self, *args):
        calls.append(len(args[0]))
        return original(self, *args)

    monkeypatch.setattr(zoo.get("structure", "partition"), "make", counted)
    graph = cases.batch()
    graph = dataclasses.replace(graph, views=(cases.batch(), cases.batch(1)))
    wanted = [Structure("windows", {"parts": 3}), Structure("quotient", {"parts": 3}), PARTS]
    found, _ = derive([graph, graph], wanted, wanted)
    assert calls == [1, 1], "once for each of the two different edge sets"
    assert set(found.derived) == {"windows(parts=3)", "quotient(parts=3)", "partition(parts=3)"}
    assert found.structure(PARTS) is found.view(0).structure(PARTS)
    assert found.structure(PARTS) is not found.view(1).structure(PARTS)


def test_the_shared_edge_set_and_the_views_have_what_is_asked_of_each():
    pairs = DECLARED["two_hop"]
    plain = cases.batch()
    viewed = dataclasses.replace(plain, views=(cases.batch(1), cases.batch(2)))
    (one,), (several,) = (derive([g], [PARTS], [pairs]) for g in (plain, viewed))
    assert set(one.derived) == {str(PARTS), str(pairs)} and one.view(1) is one
    assert set(several.derived) == {str(PARTS)}
    assert [set(v.derived) for v in several.views] == [{str(pairs)}] * 2
    with pytest.raises(ValueError, match=r"structure partition\(parts=3\) was not made .*there are: two_hop\(\)"):
        several.view(0).structure(PARTS)
    with pytest.raises(ValueError, match="there are: none"):
        plain.structure(PARTS)


def test_an_error_names_the_structure_and_the_edge_set():
    graph = dataclasses.replace(cases.batch(), views=(cases.batch(1),))
    with pytest.raises(ValueError, match=r"structure two_hop\(limit=1\) of view 0: more than limit=1"):
        derive([graph], [], [Structure("two_hop", {"limit": 1})])


def test_a_declaration_is_its_name_and_what_differs_from_the_defaults():
    assert Structure("partition", {"parts": 8, "seed": 0, "weighted": False}) == Structure("partition", {"parts": 8})
    assert hash(Structure("partition", {"parts": 8, "seed": 0})) == hash(Structure("partition", {"parts": 8}))
    assert Structure("partition", {"parts": 8}) != Structure("partition", {"parts": 8, "seed": 1})
    assert str(Structure("partition", {"weighted": True, "parts": "sqrt"})) == "partition(parts=sqrt, weighted=True)"
    assert str(Structure("two_hop")) == "two_hop()"
    again = Structure(PARTS.name, PARTS.options)
    assert again == PARTS and again.maker.parts == 3


def test_wrong_words_and_values_are_refused_when_declared():
    with pytest.raises(ValueError, match="no structure named 'partitoin'.*did you mean 'partition'"):
        Structure("partitoin", {"parts": 2})
    with pytest.raises(ValueError, match="'partition' has no option 'part'.*did you mean 'parts'"):
        Structure("partition", {"part": 2})
    for name, options, match in (
        ("partition", {}, "parts=None and size=None; expected one of them"),
        ("partition", {"parts": 2, "size": 3}, "parts=2 and size=3; expected one of them"),
        ("partition", {"parts": 0}, "parts=0; expected an integer >= 1 or 'sqrt'"),
        ("partition", {"parts": True}, "parts=True"),
        ("partition", {"size": "sqrt"}, "size='sqrt'; expected an integer >= 1"),
        ("windows", {"parts": 2, "hops": -1}, "hops=-1"),
        ("windows", {}, "expected one of them"),
        ("quotient", {"parts": "root"}, "parts='root'"),
        ("eigenvectors", {"k": 0}, "k=0; expected an integer >= 1"),
        ("two_hop", {"limit": 0.5}, "limit=0.5; expected an integer >= 1"),
        ("random_walk", {"steps": 0}, "steps=0; expected an integer >= 1"),
        ("distances", {"cutoff": 128}, "cutoff=128; expected an integer from 1 to 127"),
        ("distances", {"limit": 0}, "limit=0; expected an integer >= 1"),
    ):
        with pytest.raises(ValueError, match=match):
            Structure(name, options)


@pytest.mark.parametrize("absent", [0, 4])
def test_edges_on_the_host(absent):
    graph = cases.batch(absent=absent)
    edges, expected = Edges.of(graph), cases.directed(graph)
    assert {(s, r): w for s, r, w in zip(edges.senders, edges.receivers, edges.weight, strict=True)} == expected
    np.testing.assert_array_equal(np.lexsort((edges.senders, edges.receivers)), np.arange(len(expected)))
    for weighted in (False, True):
        np.testing.assert_array_equal(edges.adjacency(weighted).toarray(), cases.undirected(graph, weighted))
    into = np.zeros((graph.num_nodes,) * 2)
    for s, r in expected:
        into[r, s] = 1
    np.testing.assert_array_equal(edges.incoming().toarray(), into)
    ids = cases.graph_ids(graph)
    for g, rows in enumerate(edges.rows):
        np.testing.assert_array_equal(rows, np.flatnonzero((ids == g) & cases.present(graph)))


def test_ids_after_a_permutation():
    order = np.array([2, 0, 3, 1])
    x = np.array([10, 11, 12, 13, -1])
    ids = np.array([[3, 4], [0, 2]], np.int32)
    found = moved(jnp.asarray(ids), order)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(np.append(x[order], -1)[found], x[ids])


def test_options_that_a_mechanism_asks_for_are_refused_in_its_name():
    assert declare("layer 'a'", "partition", parts=3) == PARTS
    with pytest.raises(ValueError, match="layer 'a': structure 'partition': size=0; expected an integer >= 1"):
        declare("layer 'a'", "partition", size=0)
