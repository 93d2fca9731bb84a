"""HaloNet on graphs: one window a part, senders as halo, places without a node no keys."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.layers.halonet import Halonet, relations
from fusion_jax.records import EVALUATION
from fusion_jax.structures.windows import Halos
from tests.helpers import drawn, run, to_float64
from tests.layers import parted
from tests.layers.parted import PRESENT, N, batch, normal, on, plain, record
from tests.nn.reference import derivatives
from tests.structures import cases

D, H = 8, 2
X = normal(N, D)


def build(dim=D, out=None, **options):
    return drawn(lambda: Halonet(dim, out, heads=H, **options, rngs=nnx.Rngs(0)))


def seen_by_hand(layer, graph, hops):
    """bool [N, N]: j is in the part of i, or a directed path of at most `hops` edges leads from j into it."""
    part, edges = record(layer, graph).part, cases.directed(graph)
    there = part < part.max() + 1 if graph.present is None else np.asarray(graph.present)
    mask = np.zeros((N, N), bool)
    for p in set(part[there]):
        window = set(np.flatnonzero(part == p))
        for _ in range(hops):
            window |= {s for s, r in edges if r in window}
        mask[np.ix_(part == p, sorted(window))] = True
    return mask & there[:, None]


def by_hand(layer, x, mask, relation=None, bias=None):
    p = parted.values(layer)
    q, k, v = (x @ p[f"{name}.kernel"] for name in ("query", "key", "value"))
    if bias is None:
        return plain(q, k, v, H, mask) @ p["proj.kernel"]
    q, k, v = (parted.heads(a, H) for a in (q, k, v))
    scale = q.shape[-1] ** -0.5
    added = bias(q, p)
    added = np.take_along_axis(np.broadcast_to(added, (H, N, 3)), np.broadcast_to(relation, (H, N, N)), -1)
    logits = scale * q @ k.swapaxes(1, 2) + added * (scale if layer.scale_relative else 1)
    return parted.merged(parted.weighted(logits, mask) @ v) @ p["proj.kernel"]


@pytest.mark.parametrize("absent", [0, 3])
@pytest.mark.parametrize("hops", [0, 1, 2])
def test_all_nodes_of_a_part_attend_to_its_members_and_to_who_sends_into_it(hops, absent):
    """At 0 hops the blocks of the diagonal; never anybody of another graph or an absent row, which itself gets 0."""
    layer = build(out=4, size=3, hops=hops)
    graph = on(layer, batch(absent=absent))
    mask = seen_by_hand(layer, graph, hops)
    assert not (mask & ~parted.same_graph()).any() and (hops == 0) == (mask == mask.T).all()
    np.testing.assert_allclose(run(layer, X, graph), by_hand(layer, X, mask), rtol=1e-10, atol=1e-12)
    spoiled = np.where(PRESENT[:, None], X, np.nan)
    expected = by_hand(layer, np.where(PRESENT[:, None], X, 0), mask & PRESENT)
    np.testing.assert_allclose(run(layer, spoiled, graph, PRESENT), expected, rtol=1e-10, atol=1e-12)
    found = parted.dense(run(layer, spoiled, graph, PRESENT, EVALUATION, by=Halonet.attention)[0]) > 0
    np.testing.assert_array_equal(found.all(0), mask & PRESENT)
    np.testing.assert_array_equal(found.any(0), mask & PRESENT)
    for gone in set(range(N)) - set(np.flatnonzero(cases.present(graph))):
        assert not np.asarray(run(layer, X, graph))[gone].any()


def test_one_part_is_full_attention_within_each_graph():
    layer = build(parts=1)
    found = run(layer, X, on(layer, batch()))
    np.testing.assert_allclose(found, by_hand(layer, X, parted.same_graph()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scale_relative", [True, False])
@pytest.mark.parametrize("relative", ["relation", "vector"])
def test_the_relation_of_two_nodes_adds_to_their_logits(relative, scale_relative):
    layer = build(size=3, relative=relative, scale_relative=scale_relative)
    graph = on(layer, batch())
    part = record(layer, graph).part
    relation = np.where(np.eye(N, dtype=bool), 0, np.where(part[:, None] == part, 1, 2))
    mask = seen_by_hand(layer, graph, 1)
    assert {0, 1, 2} == set(relation[mask])

    def bias(q, p):
        return p["scalars"][:, None] if relative == "relation" else q @ p["vectors"].T

    expected = by_hand(layer, X, mask, relation, bias)
    np.testing.assert_allclose(run(layer, X, graph), expected, rtol=1e-10, atol=1e-12)


def test_scalars_are_zero_at_first_and_those_of_a_place_without_a_node_are_never_seen():
    layer = to_float64(Halonet(D, heads=H, size=3, relative="relation", rngs=nnx.Rngs(0)))
    without = to_float64(Halonet(D, heads=H, size=3, rngs=nnx.Rngs(0)))
    graph = on(layer, batch())
    np.testing.assert_array_equal(run(layer, X, graph), run(without, X, graph))
    parts, halos = (graph.structure(s) for s in layer.structures)
    found = np.asarray(relations(parts, halos))
    itself = np.asarray(parts.members)[:, :, None] == np.asarray(halos.ids)[:, None]
    np.testing.assert_array_equal(found[itself], 0)
    assert set(found[~itself & np.asarray(halos.inside)[:, None]]) == {1}


def test_a_node_outside_of_part_and_halo_has_exactly_no_influence():
    layer = build(size=3)
    graph = on(layer, batch())
    mask = seen_by_hand(layer, graph, 1)
    assert not mask.all() and (mask[:, None] == mask).all(-1).sum() > N  # rows of a part are equal
    np.testing.assert_array_equal(parted.influence(layer, X, graph), mask)


def test_the_halo_is_of_senders():
    """On the path 0 -> 1 -> ... -> 5 cut in the middle, the first half hears nothing of the second."""
    layer = build(parts=2)
    found = parted.influence(layer, X[:6], on(layer, Graph.create(np.arange(5), np.arange(1, 6), 6)))
    first, second = np.arange(6) < 3, np.arange(6) >= 2
    np.testing.assert_array_equal(found, np.where(first[:, None], first, second))


def test_junk_in_the_padding_of_windows_changes_nothing():
    layer = build(size=3, relative="vector")
    graph = on(layer, batch())
    halos, parts = graph.structure(layer.structures[1]), record(layer, graph)
    ids = np.where(halos.valid, halos.ids, np.arange(halos.ids.size).reshape(halos.ids.shape) % N)
    ids = np.concatenate([ids, np.full((len(ids), 2), [3, N])], 1)
    valid = np.pad(np.asarray(halos.valid), [(0, 0), (0, 2)])
    assert (ids < N).sum() > valid.sum()
    junk = dataclasses.replace(Halos.of(ids, np.pad(np.asarray(halos.inside), [(0, 0), (0, 2)]), N), valid=valid)
    other = dataclasses.replace(graph, derived={**graph.derived, str(layer.structures[1]): junk})
    assert len(parts.size) == len(ids)

    def both(layer, x, graph):
        return jax.vjp(lambda x: layer(x, graph), x)[1](jnp.cos(x))[0], layer(x, graph)

    for a, b in zip(run(layer, X, graph, by=both), run(layer, X, other, by=both), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_a_window_in_which_nobody_is_gives_nothing_and_finite_gradients():
    layer = build(parts=2)
    graph = on(layer, Graph.create([0], [1], 6))
    part = record(layer, graph).part
    present = part != part[5]
    y = run(layer, np.where(present[:, None], X[:6], np.nan), graph, present)
    assert not np.asarray(y)[~present].any() and np.asarray(y)[present].all()
    found = jax.jit(jax.grad(lambda x: (layer(x, graph, present) ** 2).sum()))(X[:6])
    assert np.isfinite(found).all() and not np.asarray(found)[~present].any()


@pytest.mark.parametrize("hops", [0, 1])
def test_reached_are_those_who_have_somebody_in_their_window(hops):
    layer = build(size=2, hops=hops)
    graph = on(layer, batch())
    mask = seen_by_hand(layer, graph, hops)
    present = np.stack([np.arange(N) == i for i in range(N)], 1)  # one alone, in every column
    found = layer.reached(jnp.asarray(present), graph)
    np.testing.assert_array_equal(found, mask)
    np.testing.assert_array_equal(layer.reached(jnp.asarray(present[:, 2]), graph), mask[:, 2])


def test_no_gradient_is_a_scatter():
    layer = build(size=3, relative="vector")
    assert "scatter" not in parted.gradient_text(layer, X, on(layer, batch()))


def test_gradients_are_those_of_differences():
    layer = build(size=3, relative="relation")
    graph = on(layer, batch())
    derivatives(lambda x: layer(x, graph, PRESENT), jnp.asarray(X))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_it_keeps_the_dtype(dtype):
    layer = build(size=3, relative="relation")
    graph, expected = on(layer, batch()), run(layer, X, on(layer, batch()), PRESENT)
    graphdef, state = nnx.split(layer)
    layer = nnx.merge(graphdef, jax.tree.map(lambda a: a.astype(dtype), state))
    found = run(layer, X.astype(dtype), graph, PRESENT)
    assert found.dtype == dtype
    np.testing.assert_allclose(np.asarray(found, float), expected, atol=1e-5 if dtype == jnp.float32 else 0.2)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(heads=3), "graph layer 'halonet': heads=3 does not divide the width D=8"),
        (dict(relative="relatoin"), "graph layer 'halonet': relative='relatoin'.*'relation'"),
        (dict(hops=-1), "graph layer 'halonet': .*hops=-1; expected an integer >= 0"),
        (dict(parts=0), "graph layer 'halonet': .*parts=0; expected an integer >= 1 or 'sqrt'"),
        (dict(heads=0), "graph layer 'halonet': heads=0"),
        (dict(heads=-1), "graph layer 'halonet': heads=-1"),
        (dict(parts=3, size=4), "graph layer 'halonet': .*parts=3 and size=4"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        functools.partial(Halonet, D, rngs=nnx.Rngs(0))(**options)


def test_what_is_not_said():
    wanted = dict(heads=4, parts="sqrt", size=None, weighted=False, hops=1)
    assert zoo.options("layer", "halonet") == wanted | dict(relative="none", scale_relative=True, rate=0.0)


def test_weights_of_edges_are_asked_for_in_both_structures():
    for options in (dict(size=3), dict(parts=2)):
        found = [dict(structure.options).get("weighted") for structure in build(**options, weighted=True).structures]
        assert found == [True, True]


def test_vectors_of_relations_start_with_products_of_size_one():
    """q_i . r of a q of entries of size one, as the stand-in draws them."""
    vectors = Halonet(256, heads=1, relative="vector", rngs=nnx.Rngs(0)).vectors[...]
    np.testing.assert_allclose(vectors.std(), 1 / 16, rtol=0.1)
