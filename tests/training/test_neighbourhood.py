"""Sampled neighbourhoods: whom they draw, that sums over them are unbiased, and where they are the whole graph."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.neighbour_mean import neighbour_mean
from fusion_jax.nn.segment import degree, propagate
from fusion_jax.records import EVALUATION
from fusion_jax.training.neighbourhood import Neighbourhood, subsets
from fusion_jax.training.sampled import with_strength
from tests import neighbours

KEY = jax.random.key(0)
ROWS = jnp.asarray([3, 0, 22, 7])
THERE = jnp.asarray([True, True, True, True])


@pytest.fixture(scope="module", autouse=True)
def settings():
    """float64 and strict promotion, for exact comparisons."""


def test_a_subset_has_each_place_once_and_all_subsets_are_as_frequent():
    drawn = np.asarray(jax.vmap(lambda key: subsets(key, jnp.asarray([5, 2, 0]), 3))(jax.random.split(KEY, 6000)))
    sets, counts = np.unique(np.sort(drawn[:, 0], 1), axis=0, return_counts=True)
    assert len(sets) == 10 and all(len(set(s)) == 3 for s in sets) and sets.min() == 0 and sets.max() == 4
    assert np.abs(counts - 600).max() < 4.5 * np.sqrt(6000 * 0.1 * 0.9)
    np.testing.assert_array_equal(drawn[:, 1:], np.broadcast_to(np.arange(3), (6000, 2, 3)))


@pytest.mark.parametrize("fanout", [(2,), (3, 2)])
def test_what_is_drawn_are_senders_and_empty_slots_are_nobodys(fanout):
    whole = neighbours.graph()
    form = Neighbourhood(5, fanout)
    rows, there = jnp.append(ROWS, 1), jnp.asarray([True, True, True, True, False])
    drawn = form.draw(whole, rows, there, KEY)
    graph = form.graph(whole, drawn)
    senders, receivers = (np.asarray(drawn.nodes)[np.asarray(ids)] for ids in (graph.senders, graph.receivers))
    known = set(zip(np.asarray(whole.senders).tolist(), np.asarray(whole.receivers).tolist(), strict=True))
    here = np.asarray(drawn.stands_for) > 0
    assert {(s, r) for s, r in zip(senders[here].tolist(), receivers[here].tolist(), strict=True)} <= known
    np.testing.assert_array_equal(here, np.asarray(drawn.there)[5:])
    up, count = np.asarray(graph.receivers)[: 5 * fanout[0]], np.diff(whole.row_ptr)
    for row in range(5):
        got = int(here[: len(up)][up == row].sum())
        assert got == (min(count[int(rows[row])], fanout[0]) if there[row] else 0)
    assert not np.asarray(drawn.there)[5:][np.asarray(graph.receivers) == 4].any(), "an empty row has no senders"
    np.testing.assert_array_equal(graph.edges["weight"], np.asarray(whole.edges["weight"])[drawn.edges])
    batch = neighbours.batch(whole)
    sampled = form.sample(batch, rows, there, KEY)
    expected = np.asarray(batch.mask)[np.asarray(drawn.nodes)] & np.asarray(drawn.there)[:, None]
    np.testing.assert_array_equal(sampled.mask, expected)


def test_sums_are_unbiased_and_so_are_means_of_those_who_are_there():
    whole = neighbours.graph()
    x = jnp.asarray(np.random.default_rng(5).normal(size=(neighbours.NODES, 2)))
    some = jnp.asarray(np.random.default_rng(6).random(neighbours.NODES) < 0.7)
    form = Neighbourhood(len(ROWS), (3,))

    def of(x, graph, present, weight):
        sums = propagate(x, graph, weight), degree(graph, x.dtype)[:, None]
        return jnp.concatenate([*sums, neighbour_mean(x, graph)], -1), neighbour_mean(x, graph, present)

    @jax.jit
    @jax.vmap
    def sampled(key):
        drawn = form.draw(whole, ROWS, THERE, key)
        graph = form.graph(whole, drawn)
        said, among = of(x[drawn.nodes], graph, some[drawn.nodes] & drawn.there, graph.edges["weight"])
        there = propagate((some[drawn.nodes] & drawn.there).astype(x.dtype), graph) > 0
        return said[: len(ROWS)], among[: len(ROWS)], there[: len(ROWS)]

    said, among, there = map(np.asarray, sampled(jax.random.split(KEY, 4000)))
    exact, exact_among = (np.asarray(a)[np.asarray(ROWS)] for a in of(x, whole, some, whole.edges["weight"]))
    error = said.std(0) / np.sqrt(len(said))
    assert (np.abs(said.mean(0) - exact) <= 4.5 * error + 1e-6).all() and error.max() > 1e-3
    for row in range(len(ROWS)):  # whatever number of those drawn is there, if any
        kept = among[there[:, row], row]
        if len(kept):
            error = kept.std(0) / np.sqrt(len(kept))
            assert (np.abs(kept.mean(0) - exact_among[row]) <= 4.5 * error + 1e-6).all()


@pytest.mark.parametrize(("layer", "placement"), neighbours.EVERY)
def test_all_senders_give_what_the_whole_graph_gives(layer, placement):
    """Outputs and gradients of the rows, at fan-outs of the largest degree and above."""
    whole = with_strength(neighbours.graph())
    model = neighbours.model(placement, layer)
    most = neighbours.largest_degree(whole)
    form = Neighbourhood(len(ROWS), (most, most + 1) if layer != "none" else ())
    # a layer that normalises by what senders receive is for streams in which all are there
    batch = neighbours.batch(whole, 0.0 if any(one.reads_strength for one in _layers(model)) else 0.3)
    part = form.sample(batch, ROWS, THERE, KEY)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    direction = jnp.asarray(np.random.default_rng(3).normal(size=(len(ROWS), neighbours.CLASSES)))

    def objective(params, batch, rows):
        said = nnx.merge(graphdef, params, rest, copy=True)(batch)
        return (said.prediction[rows] * direction).sum(), said.prediction[rows]

    found = jax.jit(jax.grad(objective, has_aux=True))
    (grads, said), (exact_grads, exact) = found(params, part, jnp.arange(len(ROWS))), found(params, batch, ROWS)
    assert said.shape == exact.shape
    np.testing.assert_allclose(said, exact, rtol=1e-9, atol=1e-9)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(exact_grads), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    assert max(np.abs(g).max() for g in jax.tree.leaves(grads)) > 1e-3


def _layers(model):
    return [*model.layers, *(streams.layers for streams in model.streams)]


def test_a_masked_modality_has_no_influence():
    whole = neighbours.graph()
    batch = neighbours.batch(whole)
    form, model = Neighbourhood(len(ROWS), (3, 2)), neighbours.model("after", "gat")
    other = {
        name: jnp.where(batch.mask[:, i, None], x, jnp.nan if i else 1e3)
        for i, (name, x) in enumerate(batch.features.items())
    }

    @jax.jit
    def said(batch):
        return model(form.sample(batch, ROWS, THERE, KEY)).prediction

    np.testing.assert_array_equal(said(batch), said(dataclasses.replace(batch, features=other)))
    seen = {name: x + 1 for name, x in batch.features.items()}
    assert np.abs(said(batch) - said(dataclasses.replace(batch, features=seen))).max() > 1e-3


def test_statistics_of_a_batch_leave_out_who_only_sends():
    """The outermost slots have no senders here: what a layer makes of them says nothing of their nodes."""
    whole, most = neighbours.graph(), neighbours.largest_degree(neighbours.graph())
    part = Neighbourhood(len(ROWS), (most,)).sample(neighbours.batch(whole, 0.0), ROWS, THERE, KEY)
    layer = neighbours.model("before", "gin", layers=1).layers[0]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(part.graph.num_nodes, 4)))
    context = dataclasses.replace(EVALUATION, key=KEY)
    layer(x, part.graph, part.graph.present, context)
    pooled = x + propagate(jnp.where(part.graph.present[:, None], x, 0), part.graph)
    np.testing.assert_allclose(layer.norm1.mean[...], 0.1 * layer.fc1(pooled[: len(ROWS)]).mean(0), rtol=1e-9)


def test_a_graph_without_edges_and_data_without_a_graph():
    form, model = Neighbourhood(2, (3,)), neighbours.model("before", "sage", layers=1)
    alone = Graph.create(np.zeros(0, int), np.zeros(0, int), neighbours.NODES)
    batch = neighbours.batch(alone)
    part = form.sample(batch, ROWS[:2], THERE[:2], KEY)
    assert not part.graph.present[2:].any()
    np.testing.assert_allclose(model(part).prediction, model(batch).prediction[ROWS[:2]], rtol=1e-9)
    none = neighbours.model("before", "none", layers=1)
    part = Neighbourhood(2).sample(batch.with_graph(None), ROWS[:2], THERE[:2], KEY)
    np.testing.assert_allclose(none(part).prediction, none(batch).prediction[ROWS[:2]], rtol=1e-9)


@pytest.mark.parametrize("given", [(0, ()), (4, (3, 0))])
def test_a_form_has_at_least_one_of_each(given):
    with pytest.raises(ValueError, match=r"rows=.*fanout=.*at least 1"):
        Neighbourhood(*given)
