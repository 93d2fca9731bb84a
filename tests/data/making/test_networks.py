"""A graph of networkx, whose nodes have names and attributes."""

import numpy as np
import pytest

from fusion_jax.data.base import Dataset

nx = pytest.importorskip("networkx", reason="networkx is in the extra test")


def karate(directed: bool = False):
    graph = nx.karate_club_graph()
    graph = nx.DiGraph(graph) if directed else graph
    rng = np.random.default_rng(0)
    for node, held in graph.nodes(data=True):
        held["vector"], held["age"], held["size"] = rng.normal(size=3), float(node), 1.5 * node
    del graph.nodes[5]["vector"]
    del graph.nodes[6]["club"]
    return graph


def test_nodes_edges_and_attributes_are_kept():
    graph = karate()
    data = Dataset.from_networkx(graph, {"v": "vector", "numbers": ("age", "size")}, "club")
    assert data.ids.tolist() == [str(i) for i in range(34)], "in the order of numbers, not of texts"
    assert {m: x.shape[1] for m, x in data.features.items()} == {"v": 3, "numbers": 2}
    np.testing.assert_array_equal(data.features["v"][3], graph.nodes[3]["vector"].astype(np.float32))
    np.testing.assert_array_equal(data.features["numbers"][4], [4, 6])
    assert not data.mask[5, 0] and data.mask.sum() == 2 * 34 - 1 and not data.labelled[6]
    assert data.class_names == ("Mr. Hi", "Officer")
    g = data.graphs["edges"]
    assert len(g.senders) == 2 * graph.number_of_edges()
    for s, r, w in zip(g.senders, g.receivers, g.edges["weight"], strict=True):
        assert graph.edges[s, r]["weight"] == w
    (warning,) = data.conversion.warnings
    assert warning.startswith("modality v:"), "noise, beside numbers of the places in the club"


def test_a_directed_graph_stays_one():
    graph = nx.DiGraph()
    rng = np.random.default_rng(0)
    for i in range(30):
        graph.add_node(f"n{i}", x=rng.normal(size=2), y="ab"[i % 2])
    graph.add_edges_from((f"n{i}", f"n{(i + 1) % 30}") for i in range(30))
    data = Dataset.from_networkx(graph, {"x": "x"}, "y")
    g = data.graphs["edges"]
    pairs = {(data.ids[s], data.ids[r]) for s, r in zip(g.senders, g.receivers, strict=True)}
    assert pairs == set(graph.edges) and len(g.senders) == 30
    assert len(Dataset.from_networkx(graph, {"x": "x"}, "y", directed=False).graphs["edges"].senders) == 60


def test_attributes_that_are_not_there_or_differ_are_named():
    with pytest.raises(ValueError, match="no node has an attribute 'vektor' .did you mean 'vector'"):
        Dataset.from_networkx(karate(), {"v": "vektor"}, "club")
    with pytest.raises(ValueError, match="no node has an attribute None"):
        Dataset.from_networkx(karate(), {"v": "vector"})
    graph = karate()
    graph.nodes[3]["vector"] = np.ones(4)
    with pytest.raises(ValueError, match="attribute 'vector': vectors of lengths 3 at node '33', 4 at node '3'"):
        Dataset.from_networkx(graph, {"v": "vector"}, "club")
