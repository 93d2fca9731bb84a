"""Trained models under other masks and edges: as those of a batch made that way, and edges led astray as told."""

import dataclasses

import jax
import numpy as np
import pytest

from fusion_jax.results.altered import rewired, under_features, under_graph, under_masks, without_edges
from fusion_jax.results.restore import predict, restore
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run


@pytest.fixture(scope="module", autouse=True)
def settings():
    with as_users_run():
        yield


@pytest.fixture(scope="module")
def cells(settings, tmp_path_factory):
    made = [
        tiny_cell(),
        tiny_cell(data__setting="inductive", model__layer__name="graphormer", seeds=1),
        tiny_cell(data__name="synthetic_links", data__options={}, seeds=1),
        tiny_cell(data__name="synthetic_graphs", data__options={}, seeds=1),
    ]
    store, identities = train_cells(tmp_path_factory.mktemp("altered"), made)
    return [restore(store, identity) for identity in identities]


@pytest.mark.parametrize("which", range(4), ids=["plain", "inductive", "links", "graphs"])
def test_each_mask_is_a_prediction_of_its_own_and_no_node_gains(cells, which):
    cell = cells[which]
    batch, rng = cell.batch(0), np.random.default_rng(0)
    masks = rng.random((3, *batch.mask.shape)) < 0.6
    masks[0] = True
    found = under_masks(cell, 0, masks)
    np.testing.assert_allclose(found[0], cell.prediction(0), rtol=1e-5, atol=1e-6)
    for one, mask in zip(found, masks, strict=True):
        told = predict(cell.models[0], batch.with_mask(batch.mask & mask), cell.context(0))
        np.testing.assert_allclose(one, told, rtol=1e-5, atol=1e-6)
    assert np.abs(found[1] - found[0]).max() > 1e-3


@pytest.mark.parametrize("which", range(4), ids=["plain", "inductive", "links", "graphs"])
def test_without_edges_no_node_hears_of_another(cells, which):
    cell = cells[which]
    graph, before = without_edges(cell, 0), cell.batch(0).graph
    assert graph.num_edges == 0 and graph.num_nodes == before.num_nodes and set(graph.edges) == set(before.edges)
    np.testing.assert_array_equal(graph.looped.senders, graph.looped.receivers)
    bare = under_masks(cell, 0, np.ones((1, *cell.batch(0).mask.shape), bool), graph)[0]
    assert np.abs(bare - cell.prediction(0)).max() > 1e-3
    np.testing.assert_allclose(under_graph(cell, 0, graph), bare, rtol=1e-5, atol=1e-6)
    if which < 2:
        node, one = 5, cell.batch(0)
        other = {k: x.at[node].add(1.0) for k, x in one.features.items()}
        changed = predict(cell.models[0], dataclasses.replace(one, features=other, graph=graph), cell.context(0))
        apart = np.abs(changed - bare).max(1) > 1e-5
        assert apart.sum() == apart[node] == 1 or not np.asarray(one.mask)[node].any()


def pairs(graph):
    s, r = np.asarray(graph.senders), np.asarray(graph.receivers)
    return sorted(zip(np.minimum(s, r).tolist(), np.maximum(s, r).tolist(), strict=True))


@pytest.mark.parametrize("which", range(4), ids=["plain", "inductive", "links", "graphs"])
def test_edges_led_astray_keep_one_end_their_number_and_their_graph(cells, which):
    cell = cells[which]
    before = cell.batch(0).graph
    assert pairs(rewired(cell, 0, 0.0, np.random.default_rng(0))) == pairs(before)
    after = rewired(cell, 0, 0.5, np.random.default_rng(0))
    same_shapes = jax.tree.map(np.shape, (after.jraph, after.looped)) == jax.tree.map(
        np.shape, (before.jraph, before.looped)
    )
    assert same_shapes, "one program serves all shares"
    s, r = np.asarray(after.senders), np.asarray(after.receivers)
    ids = np.asarray(before.graph_ids)
    assert (ids[s] == ids[r]).all()
    old = np.asarray(before.senders), np.asarray(before.receivers)
    assert ((s == r).sum()) == (old[0] == old[1]).sum()
    if after.present is not None:
        there = np.asarray(after.present)
        assert there[s[s != r]].all() and there[r[s != r]].all()
    kept = len(set(pairs(after)) & set(pairs(before))) / len(set(pairs(before)))
    assert 0.35 < kept < 0.7
    both = set(zip(old[0].tolist(), old[1].tolist(), strict=True))
    if all((b, a) in both for a, b in both):  # symmetric before, symmetric after
        now = set(zip(s.tolist(), r.tolist(), strict=True))
        assert all((b, a) in now for a, b in now)
    more = rewired(cell, 0, 0.8, np.random.default_rng(0))
    moved = set(pairs(before)) - set(pairs(after))
    assert len(moved & set(pairs(more))) <= 0.1 * len(moved), "what moves at a lower share moves at a higher one"


def test_other_features_are_predicted_from_in_the_place_of_sparse_ones_too(cells):
    cell = cells[0]
    doubled = under_features(cell, 1, lambda name, x: 2 * x if name == "m1" else x)
    batch = cell.batch(1)
    features = {**batch.features, "m1": 2 * batch.features["m1"]}
    told = predict(cell.models[1], dataclasses.replace(batch, features=features), cell.context(1))
    np.testing.assert_allclose(doubled, told, rtol=1e-6)
    np.testing.assert_allclose(under_features(cell, 1, lambda name, x: x), cell.prediction(1), rtol=1e-5, atol=1e-6)
