"""GraphGPS: graphs by themselves, what places tell, signs of eigenvectors, statistics, who is reached."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.layers.graphgps import Graphgps
from fusion_jax.layers.graphgps.encodings import EigenvectorEncoding
from fusion_jax.records import Context
from fusion_jax.structures.base import derive
from tests.helpers import drawn, parameters, run
from tests.nn.reference import dropped
from tests.structures import cases

D, OUT = 5, 8
N_NODE = (6, 1, 9)
GRAPH = cases.batch(1, n_node=N_NODE, weighted=False)
N = sum(N_NODE)
X = np.random.default_rng(0).normal(size=(N, D))


def made(out=OUT, dim=D, **options):
    options = dict(heads=2, attention_rate=0.0, steps=5, frequencies=4) | options
    return drawn(lambda: Graphgps(dim, out, rngs=nnx.Rngs(0), **options))


def ready(layer, graph):
    return derive([graph], layer.structures)[0] if layer.structures else graph


def piece(graph, begin, end):
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    own = (receivers >= begin) & (receivers < end)
    return Graph.create(senders[own] - begin, receivers[own] - begin, end - begin)


@pytest.mark.parametrize(
    "options",
    [
        dict(norm="graph"),
        dict(local="gin", encoding="laplacian"),
        dict(local="gcn", norm="none", encoding="none"),
        dict(local="none"),
        dict(attention=False),
    ],
    ids=str,
)
def test_each_graph_of_a_batch_by_itself(options):
    layer = made(**options)
    together = run(layer, X, ready(layer, GRAPH))
    for end, count in zip(np.cumsum(N_NODE), N_NODE, strict=True):
        alone = run(layer, X[end - count : end], ready(layer, piece(GRAPH, end - count, end)))
        np.testing.assert_allclose(together[end - count : end], alone, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("norm", ["batch", "graph"])
def test_rows_that_stand_for_no_node_change_nothing(norm):
    """Not in training either, nor what the batch norms remember."""
    more, layers = cases.with_rows(GRAPH, 2), [made(norm=norm) for _ in range(2)]
    x, key = np.concatenate([X, np.full((2, D), np.nan)]), Context(key=jax.random.key(0))
    before, after = (
        np.asarray(run(layer, given, ready(layer, graph), context=key))
        for layer, given, graph in zip(layers, (X, x), (GRAPH, more), strict=True)
    )
    np.testing.assert_allclose(after[:N], before, rtol=1e-9, atol=1e-11)
    for a, b in zip(parameters(layers[0]).values(), parameters(layers[1]).values(), strict=True):
        np.testing.assert_allclose(a[...], b[...], rtol=1e-9)


@pytest.mark.parametrize("local", ["gine", "gin", "gcn"])
@pytest.mark.parametrize("training", [False, True])
def test_absent_nodes_send_nothing_and_are_no_keys(local, training):
    """Present ones get what they get among themselves, batch statistics in training too."""
    present = np.random.default_rng(2).random(N) < 0.7
    senders, receivers = np.asarray(GRAPH.senders), np.asarray(GRAPH.receivers)
    kept, rank = present[senders] & present[receivers], np.cumsum(present) - 1
    ends = np.cumsum(N_NODE)
    counts = np.array([present[end - n : end].sum() for end, n in zip(ends, N_NODE, strict=True)])
    less = Graph.create(rank[senders[kept]], rank[receivers[kept]], counts)
    assert (present[receivers] & ~present[senders]).any()
    context = Context(key=jax.random.key(0) if training else None)
    layers = [made(local=local, encoding="none") for _ in range(2)]
    found = run(layers[0], np.where(present[:, None], X, np.nan), GRAPH, jnp.asarray(present), context)
    np.testing.assert_allclose(found[present], run(layers[1], X[present], less, context=context), rtol=1e-9, atol=1e-11)


def test_two_triangles_and_a_hexagon_are_told_apart_by_places_only():
    """The same features everywhere: messages and attention alone see no difference."""
    i = np.arange(6)
    ring, pair = (i + 1) % 6, i // 3 * 3 + (i + 1) % 3
    graphs = [Graph.create(np.r_[i, other], np.r_[other, i], 6) for other in (ring, pair)]
    for encoding, same in (("none", True), ("random_walk", False)):
        layer = made(encoding=encoding, norm="none")
        first, second = (run(layer, np.ones((6, D)), ready(layer, graph)) for graph in graphs)
        assert np.allclose(first, second, rtol=1e-9) == same


def test_signs_of_eigenvectors_are_drawn_in_training():
    """One a vector for all nodes; what it then says is what it says of the vector with that sign."""
    layer = made(encoding="laplacian", frequencies=2)
    graph = ready(layer, GRAPH)
    key = str(layer.structures[0])
    record = graph.derived[key]

    def flipped(signs):
        other = dataclasses.replace(record, vectors=record.vectors * jnp.asarray(signs, float))
        return dataclasses.replace(graph, derived={key: other})

    x = jnp.asarray(X)
    known = [run(layer, x, flipped(s), None, by=Graphgps.placed) for s in itertools.product((1, -1), repeat=2)]
    draws = [run(layer, x, graph, None, jax.random.key(k), by=Graphgps.placed) for k in range(12)]
    found = {min(range(4), key=lambda i, d=d: float(jnp.abs(d - known[i]).max())) for d in draws}
    assert all(min(float(jnp.abs(d - other).max()) for other in known) < 1e-12 for d in draws)
    assert len(found) > 2
    np.testing.assert_array_equal(known[0], run(layer, x, graph, None, by=Graphgps.placed))


def test_frequencies_that_a_graph_does_not_have_say_nothing():
    encoding = drawn(lambda: EigenvectorEncoding(3, rngs=nnx.Rngs(0)))
    vectors, values = np.random.default_rng(0).normal(size=(2, 4, 6))
    valid = np.broadcast_to(np.arange(6) < 4, (4, 6))
    whole = encoding(vectors, values, valid)
    np.testing.assert_allclose(whole, encoding(vectors[:, :4], values[:, :4], valid[:, :4]), rtol=1e-12)
    assert np.abs(whole - encoding(vectors, values, np.ones_like(valid))).max() > 1e-3


def test_every_edge_has_the_same_learned_feature():
    """Two nodes, one edge: what is received is relu(x_j + e)."""
    layer = made(OUT, OUT, attention=False, encoding="none", norm="none")
    x = np.random.default_rng(0).normal(size=(2, OUT))
    y = run(layer, x, Graph.create(np.array([0]), np.array([1]), 2))
    received = np.stack([np.zeros(OUT), np.maximum(x[0] + np.asarray(layer.edge[...]), 0)])
    s = x + layer.local_model(x + received)
    np.testing.assert_allclose(y, s + layer.ff(s), rtol=1e-10)


def test_without_attention_a_neighbour_is_reached_and_with_it_the_graph():
    path = Graph.create(np.arange(3), np.arange(1, 4), np.array([4, 2]))
    first = jnp.asarray(np.arange(6) == 0)
    x = np.where(np.arange(6)[:, None] == 0, np.random.default_rng(0).normal(size=(6, D)), np.nan)
    for attention, reached in ((True, [1, 1, 1, 1, 0, 0]), (False, [1, 1, 0, 0, 0, 0])):
        layer = made(attention=attention)
        graph = ready(layer, path)
        np.testing.assert_array_equal(layer.reached(first, graph), np.array(reached, bool))
        one, two = (run(layer, given, graph, first) for given in (x, 2 - x))
        np.testing.assert_array_equal(np.abs(one - two).max(1) > 0, np.array(reached, bool))


@pytest.mark.parametrize(
    "options, match",
    [
        (dict(heads=3), "heads=3 does not divide the width D=8"),
        (dict(local="gni"), "local='gni'.*did you mean 'gin'"),
        (dict(norm="layer"), "norm='layer'"),
        (dict(encoding="rwse"), "encoding='rwse'"),
        (dict(local="none", attention=False), "leave nothing"),
        (dict(pe_dim=8), "pe_dim=8; expected from 1 to 7"),
        (dict(pe_dim=0), "pe_dim=0"),
        (dict(steps=0), "graph layer 'graphgps'.*random_walk.*steps=0"),
        (dict(encoding="laplacian", frequencies=0), "graph layer 'graphgps'.*eigenvectors.*k=0"),
    ],
)
def test_refusals(options, match):
    with pytest.raises(ValueError, match=match):
        Graphgps(D, OUT, rngs=nnx.Rngs(0), **options)


def test_the_encoding_has_seven_sixteenths_of_the_width():
    assert nnx.eval_shape(lambda: Graphgps(D, 64, rngs=nnx.Rngs(0))).encoding.pe_encoder.out_features == 28


def test_what_is_not_said():
    wanted = dict(heads=4, local="gine", attention=True, norm="batch", encoding="random_walk", pe_dim=None, steps=20)
    assert zoo.options("layer", "graphgps") == wanted | dict(frequencies=8, rate=0.0, attention_rate=0.5)


def test_where_it_drops_and_how_much(monkeypatch):
    layer = made(norm="none", encoding="none", rate=0.2, attention_rate=0.3)
    graph = ready(layer, Graph.create(np.arange(N - 1), np.arange(1, N), N))
    found = dropped(monkeypatch, lambda key: layer(jnp.asarray(X), graph, context=Context(key=key)))
    assert found == [((N, OUT), 0.2), ((1, 2, N, N), 0.3), ((N, OUT), 0.2), ((N, 2 * OUT), 0.2), ((N, OUT), 0.2)]


def test_signs_have_a_key_of_their_own(monkeypatch):
    layer, keys = made(encoding="laplacian", norm="none"), []
    graph, own = ready(layer, GRAPH), jax.random.rademacher
    monkeypatch.setattr(jax.random, "rademacher", lambda key, *more: keys.append(key) or own(key, *more))
    block = Graphgps.block
    monkeypatch.setattr(Graphgps, "block", lambda self, *more: keys.append(more[-1]) or block(self, *more))
    jax.eval_shape(lambda key: layer(jnp.asarray(X), graph, context=Context(key=key)), jax.random.key(0))
    assert len(keys) == 2 and keys[0] is not keys[1]


def test_returns_are_normalised_by_the_statistics_of_those_who_are_there():
    """In training, which the running ones then follow."""
    layer, present = made(norm="none"), np.arange(N) % 3 != 1
    graph, norm = ready(layer, GRAPH), layer.encoding.raw_norm
    landing = np.asarray(graph.structure(layer.structures[0]).landing, float)[present]
    before = np.asarray(norm.mean[...])
    key = jax.random.key(0)
    found = run(layer, jnp.asarray(X), graph, jnp.asarray(present), key, by=Graphgps.placed)
    held = (landing - landing.mean(0)) / np.sqrt(landing.var(0) + 1e-5) * norm.scale[...] + norm.bias[...]
    encoded = held @ layer.encoding.pe_encoder.kernel[...] + layer.encoding.pe_encoder.bias[...]
    np.testing.assert_allclose(found[present][:, -encoded.shape[1] :], encoded, rtol=1e-9, atol=1e-11)
    assert not np.asarray(found)[~present].any()
    step = np.asarray(norm.mean[...]) - before
    np.testing.assert_allclose(step, 0.1 * (landing.mean(0) - before), rtol=1e-9, atol=1e-12)


def test_the_feature_of_edges_starts_as_an_embedding_does():
    layer = Graphgps(512, heads=1, attention=False, norm="none", encoding="none", rngs=nnx.Rngs(0))
    np.testing.assert_allclose(layer.edge[...].std(), 1, rtol=0.12)
