"""Nodes behind those of a data set: unlabelled, in no split, along edges that are given or by the others' rule."""

import dataclasses

import numpy as np
import pytest

from fusion_jax.data.arrivals import Edges, arrivals
from fusion_jax.data.base import edge_set
from fusion_jax.data.extended import asked_links, asked_nodes, extended, symmetric
from fusion_jax.data.graphs import grow, neighbour_graphs, neighbour_recipes
from fusion_jax.records import Target
from tests import tiny


def with_two(data, **more):
    x = {name: np.stack([x[0], np.full(x.shape[1], np.nan)]) for name, x in data.features.items()}
    x[next(iter(x))][1] = 1
    return arrivals(x, {name: v.shape[1] for name, v in x.items()}, ids=["a", "b"], known=data.ids or (), **more)


def test_they_stand_behind_the_others_and_know_nothing():
    data = tiny.dataset()
    data = dataclasses.replace(data, labelled=np.ones(60, bool))
    name = data.default_graph
    joined = {name: Edges(np.array([60, 5]), np.array([5, 61]), {})}
    grown = extended(data, with_two(data), joined, asked_nodes(data.target, 2))
    assert grown.num_nodes == 62 and grown.mask[60:].tolist() == [[True, True], [True, False]]
    assert grown.labelled.tolist() == [True] * 60 + [False] * 2
    assert grown.target.labels[60:].tolist() == [0, 0] and grown.target.labels.dtype == data.target.labels.dtype
    np.testing.assert_array_equal(grown.target.labels[:60], data.target.labels)
    g, old = grown.graphs[name], data.graphs[name]
    assert len(g.senders) == len(old.senders) + 2
    assert {(60, 5), (5, 61)} <= set(zip(g.senders.tolist(), g.receivers.tolist(), strict=True))
    with pytest.raises(ValueError, match="splits of the cell's seeds are given"):
        grown.split(0)


def test_to_edge_sets_made_from_features_they_are_attached_and_send_to_nobody():
    data = tiny.dataset()
    made = neighbour_graphs(data.features, data.mask, 3)
    recipes = neighbour_recipes(data.features, 3)
    data = dataclasses.replace(data, graphs=made, default_graph="knn", made=recipes)
    grown = extended(data, with_two(data), {}, asked_nodes(data.target, 2))
    for name, g in grown.graphs.items():
        late = g.receivers >= 60
        assert not (g.senders >= 60).any()
        np.testing.assert_array_equal(g.senders[~late], data.graphs[name].senders)
        wanted = grow(recipes[name], grown.features, grown.mask, np.arange(62) < 60)[1]
        np.testing.assert_array_equal(g.senders[late], wanted.senders[wanted.receivers >= 60])
        assert np.bincount(g.receivers[late], minlength=62)[60] == 3


def test_one_graph_of_several_is_not_joined():
    data = tiny.dataset()
    g = edge_set([0, 40], [1, 41], [30, 30])
    data = dataclasses.replace(data, graphs={"g": g}, default_graph="g")
    with pytest.raises(ValueError, match="edge set 'g': 2 graphs; expected one graph, which nodes can join"):
        extended(data, with_two(data), {}, asked_nodes(data.target, 2))


def test_pairs_that_are_rows_keep_their_rows_and_joined_ones_are_links():
    target = Target("links", labels=np.array([True, False]), pairs=np.array([[0, 1], [2, 3]], np.int32), level="link")
    edges = edge_set([0, 1, 4], [1, 0, 2], 6)
    found, rows = asked_links(target, np.array([[3, 2], [5, 0], [2, 4], [0, 5], [0, 1]]), edges)
    assert rows.tolist() == [1, 2, 3, 2, 0] or rows.tolist() == [1, 3, 2, 3, 0]
    assert {tuple(sorted(p)) for p in found.pairs[2:].tolist()} == {(0, 5), (2, 4)}
    assert found.labels[rows].tolist() == [False, False, True, False, True] and len(found) == 4


def test_an_edge_set_is_symmetric_where_every_edge_has_its_reverse():
    assert symmetric(edge_set([0, 1], [1, 0], 2)) and not symmetric(edge_set([0, 1], [1, 2], 3))
    ways = [0, 1, 1, 2], [1, 0, 2, 1]
    assert symmetric(edge_set(*ways, 3, {"weight": np.array([0.5, 0.5, 2, 2])}))
    assert not symmetric(edge_set(*ways, 3, {"weight": np.array([0.5, 0.5, 2, 3])})), "a weight a direction"
