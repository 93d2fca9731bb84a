"""Combiner on graphs: one softmax over the own part and the summaries of the others of the graph."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import softmax

from fusion_jax import zoo
from fusion_jax.layers.combiner import Combiner
from fusion_jax.records import EVALUATION, Context
from fusion_jax.structures.base import Edges
from fusion_jax.structures.partition import given
from tests.helpers import drawn, run
from tests.layers import parted
from tests.layers.parted import PRESENT, N, batch, normal, on, plain, record
from tests.nn.reference import close, derivatives, random_only_with_a_key
from tests.structures import cases

D, H = 8, 2
X = normal(N, D)


def build(dim=D, out=None, **options):
    return drawn(lambda: Combiner(dim, out, heads=H, **{"size": 3, **options}, rngs=nnx.Rngs(0)))


def projected(layer, x):
    p = parted.values(layer)
    return [x @ p[f"{name}.kernel"] for name in ("query", "key", "value")]


def by_hand(layer, graph, x, there):
    """Node by node, head by head; also the weight [H, N, N] that every node has in the end."""
    parts, ids = record(layer, graph), cases.graph_ids(graph)
    q, k, v = (parted.heads(a, H) for a in projected(layer, x))
    q = q / np.sqrt(q.shape[-1])
    out, effective = np.zeros_like(v), np.zeros((H, len(x), len(x)))
    members = [np.flatnonzero((parts.part == p) & there) for p in range(len(parts.size))]
    for h, i in np.ndindex(H, len(x)):
        if parts.part[i] == len(parts.size):
            continue
        own, far = members[parts.part[i]], []
        for s, rows in enumerate(members):
            if len(rows) and parts.graph[s] == ids[i] and (layer.own_summary or s != parts.part[i]):
                inner = softmax(k[h, rows] @ q[h, rows].max(0))
                far.append((q[h, i] @ k[h, rows].max(0), rows, inner))
        logits = np.array([*(k[h, own] @ q[h, i]), *(logit for logit, *_ in far)])
        if not len(logits):
            continue
        p = softmax(logits)
        np.add.at(effective, (h, i, own), p[: len(own)])
        for weight, (_, rows, inner) in zip(p[len(own) :], far, strict=True):
            effective[h, i, rows] += weight * inner
        out[h, i] = effective[h, i] @ v[h]
    return parted.merged(out) @ parted.values(layer)["proj.kernel"], effective


@pytest.mark.parametrize("options", [{}, dict(own_summary=True), dict(size=1), dict(out=4, size=2)], ids=str)
def test_it_is_its_equation_whoever_is_there(options):
    """In a batch of graphs, one part of absent nodes alone; an absent row of the graph gets 0."""
    layer = build(**options)
    graph = on(layer, batch(absent=2))
    parts, everybody = record(layer, graph), cases.present(batch(absent=2))
    close(run(layer, X, graph), by_hand(layer, graph, X, everybody)[0], 1e-10)
    assert not np.asarray(run(layer, X, graph))[~everybody].any()
    present = PRESENT & everybody & (parts.part != parts.part[0])
    spoiled, zeroed = (np.where(present[:, None], X, fill) for fill in (np.nan, 0))
    expected, effective = by_hand(layer, graph, zeroed, present)
    close(run(layer, spoiled, graph, present), expected, 1e-10)
    close(shown(layer, spoiled, graph, present), effective, 1e-10)


def shown(layer, x, graph, present=None):
    """What the two attentions say that every node weighs in the end, [H, N, N]."""
    attention, summary = run(layer, x, graph, present, EVALUATION, by=Combiner.attention)
    parts, n = record(layer, graph), len(x)
    weights, inner, room = np.asarray(attention.weights), np.asarray(summary.weights), parts.members.shape[1]
    assert not weights[~np.broadcast_to(attention.valid, weights.shape)].any()
    np.testing.assert_array_equal(inner > 0, np.broadcast_to(summary.valid, inner.shape))
    found = np.zeros((H, n, n + 1))
    for i in np.flatnonzero(parts.part < len(parts.size)):
        np.add.at(found, (slice(None), i, parts.members[parts.part[i]]), weights[i, :, :room])
        g = parts.graph[parts.part[i]]
        for s in np.flatnonzero(parts.graph == g):
            share = weights[i, :, room + parts.slot[s], None] * inner[g, parts.slot[s]]
            np.add.at(found, (slice(None), i, parts.members[s]), share)
    return found[..., :n]


@pytest.mark.parametrize("options", [dict(parts=1, size=None), dict(size=1)], ids=str)
def test_one_part_and_parts_of_one_node_are_plain_attention_within_each_graph(options):
    layer = build(**options)
    found = plain(*projected(layer, X), H, parted.same_graph()) @ parted.values(layer)["proj.kernel"]
    close(run(layer, X, on(layer, batch())), found, 1e-10)


@pytest.mark.parametrize("own_summary", [False, True])
def test_every_node_of_the_graph_has_a_weight_and_they_sum_to_one(own_summary):
    layer = build(own_summary=own_summary)
    graph = on(layer, batch())
    effective, same = shown(layer, X, graph), parted.same_graph()
    np.testing.assert_array_equal(effective > 0, np.broadcast_to(same, effective.shape))
    close(effective.sum(-1), np.ones((H, N)), 1e-12)
    out = parted.merged(effective @ parted.heads(projected(layer, X)[2], H)) @ parted.values(layer)["proj.kernel"]
    close(run(layer, X, graph), out, 1e-10)
    np.testing.assert_array_equal(parted.influence(layer, X, graph), same)


def test_other_numbers_for_the_parts_change_nothing():
    layer = build(size=2)
    graph = on(layer, batch())
    parts = record(layer, graph)
    most = np.bincount(parts.graph)[cases.graph_ids(graph)]
    other = given(Edges.of(graph), most - 1 - parts.slot[parts.part])
    other = dataclasses.replace(graph, derived={str(layer.structures[0]): other})
    close(run(layer, X, other), run(layer, X, graph), 1e-12)


def test_gradients_are_those_of_differences_where_parts_are_empty_and_no_scatter():
    layer = build(size=2)
    graph = on(layer, batch())
    parts = record(layer, graph)
    present = PRESENT & (parts.part != parts.part[0]) & (cases.graph_ids(graph) != 1)
    derivatives(lambda x: layer(x, graph, present), jnp.asarray(X))
    assert "scatter" not in parted.gradient_text(layer, X, graph)


def test_reached_are_all_of_a_graph_with_somebody():
    layer = build()
    graph = on(layer, batch(absent=3))
    ids, there = cases.graph_ids(graph), cases.present(graph)
    found = layer.reached(jnp.arange(N) == 2, graph)
    np.testing.assert_array_equal(found, (ids == 0) & there)


def test_dropout_is_on_the_weights_within_summaries():
    def outputs(**options):
        layer = build(rate=0.5, **options)
        graph = on(layer, batch())
        return lambda key: layer(X, graph, None, Context(key=key))

    random_only_with_a_key(outputs(), unbiased=True, draws=300)
    alone = jax.jit(outputs(parts=1, size=None))
    close(alone(jax.random.key(0)), alone(None), 1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_it_keeps_the_dtype(dtype):
    layer = build()
    graph = on(layer, batch())
    expected = run(layer, X, graph, PRESENT)
    graphdef, state = nnx.split(layer)
    found = run(nnx.merge(graphdef, jax.tree.map(lambda a: a.astype(dtype), state)), X.astype(dtype), graph, PRESENT)
    assert found.dtype == dtype
    np.testing.assert_allclose(np.asarray(found, float), expected, atol=1e-5 if dtype == jnp.float32 else 0.2)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(heads=3), "graph layer 'combiner': heads=3 does not divide the width D=8"),
        (dict(parts="root"), "graph layer 'combiner': .*parts='root'; expected an integer >= 1 or 'sqrt'"),
        (dict(heads=0), "graph layer 'combiner': heads=0"),
        (dict(heads=-1), "graph layer 'combiner': heads=-1"),
        (dict(parts=2, size=3), "graph layer 'combiner': .*parts=2 and size=3"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        functools.partial(Combiner, D, rngs=nnx.Rngs(0))(**options)


def test_what_is_not_said():
    wanted = dict(heads=4, parts="sqrt", size=None, weighted=False, own_summary=False, rate=0.0)
    assert zoo.options("layer", "combiner") == wanted


def test_weights_of_edges_are_asked_for():
    assert dict(build(weighted=True).structures[0].options)["weighted"]
