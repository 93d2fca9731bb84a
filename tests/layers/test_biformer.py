"""BiFormer on graphs: parts route to parts by means of the present, nodes attend to the nodes of those."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import softmax

from fusion_jax import zoo
from fusion_jax.layers.biformer import Biformer, Routing, route, routed
from fusion_jax.nn.parts import of_graphs
from fusion_jax.records import EVALUATION
from fusion_jax.structures.base import Edges
from fusion_jax.structures.partition import given
from tests.helpers import drawn, run
from tests.layers import parted
from tests.layers.parted import PRESENT, N, batch, normal, on, record
from tests.nn.reference import close, derivatives, matrix
from tests.structures import cases

D, H = 8, 2
X = normal(N, D)


def build(dim=D, out=None, **options):
    return drawn(lambda: Biformer(dim, out, heads=H, **{"size": 2, "topk": 2, **options}, rngs=nnx.Rngs(0)))


def projected(layer, x):
    p = parted.values(layer)
    return np.split(x @ p["qkv.kernel"] + p["qkv.bias"], 3, axis=1)


def routing_by_hand(layer, parts, x, there):
    """share [P, P] of the softmax over the best parts, 0 elsewhere; score [P, P]."""
    q, k, _ = projected(layer, x)
    count = len(parts.size)
    members = [(parts.part == p) & there for p in range(count)]
    q, k = (np.stack([a[m].mean(0) if m.any() else np.zeros(a.shape[1]) for m in members]) for a in (q, k))
    score = layer.scale * q @ k.T
    share = np.zeros((count, count))
    for p in range(count):
        others = [s for s in range(count) if members[s].any() and parts.graph[s] == parts.graph[p]]
        best = sorted(others, key=lambda s: -score[p, s])[: layer.topk]
        share[p, best] = softmax(score[p, best])
    return share, score


def by_hand(layer, graph, x, there):
    p, parts = parted.values(layer), record(layer, graph)
    q, k, v = projected(layer, x)
    share, _ = routing_by_hand(layer, parts, x, there)
    between = np.append(np.append(share, np.zeros((len(share), 1)), 1), np.zeros((1, len(share) + 1)), 0)
    between = between[parts.part][:, parts.part]  # [N, N]
    mask, scale = (between > 0) & there, layer.scale
    q, k, v = (parted.heads(a, H) for a in (q, k, v))
    factor = between if layer.soft_routing else np.ones_like(between)
    weights = parted.weighted(scale * q @ k.swapaxes(1, 2) * factor, mask)
    out = parted.merged((weights * factor) @ v)
    if layer.enhance is not None:
        v = np.where(there[:, None], parted.merged(v), 0)
        a = matrix(graph) * there
        near = a @ v / np.maximum(a.sum(1, keepdims=True), 1)
        out = out + p["enhance.own"] * v + p["enhance.neighbour"] * near + p["enhance.bias"]
    return out @ p["proj.kernel"] + p["proj.bias"], weights


FORMS = [{}, dict(local=False), dict(soft_routing=True), dict(topk=1), dict(out=4)]


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_it_is_its_equation_whoever_is_there(options):
    """In a batch whose graphs have 4, 1 and 3 parts, one of them of absent nodes alone."""
    layer = build(**options)
    graph = on(layer, batch())
    parts = record(layer, graph)
    present = PRESENT & (parts.part != parts.part[0])
    close(run(layer, X, graph), by_hand(layer, graph, X, np.ones(N, bool))[0], 1e-10)
    expected, weights = by_hand(layer, graph, np.where(present[:, None], X, 0), present)
    spoiled = np.where(present[:, None], X, np.nan)
    close(run(layer, spoiled, graph, present), expected, 1e-10)
    attention, routing = run(layer, spoiled, graph, present, EVALUATION, by=Biformer.attention)
    close(parted.dense(attention), weights, 1e-10)
    share, score = routing_by_hand(layer, parts, np.where(present[:, None], X, 0), present)
    for p, s in np.ndindex(share.shape):
        if parts.graph[p] == parts.graph[s]:
            at = parts.graph[p], parts.slot[p], parts.slot[s]
            close(routing.weights[at], share[p, s], 1e-10)
            close(routing.scores[at], score[p, s], 1e-10)
    chosen = score[share > 0]
    assert chosen.min() < 0 and not share[:, parts.part[0]].any()  # an empty part scores 0, and is not chosen for it


@pytest.mark.parametrize("topk", [4, 9])
def test_with_all_parts_it_is_attention_to_the_whole_graph_at_the_scale_of_the_full_width(topk):
    layer = build(topk=topk, local=False)
    p = parted.values(layer)
    found = parted.plain(*projected(layer, X), H, parted.same_graph(), D**-0.5)
    close(run(layer, X, on(layer, batch())), found @ p["proj.kernel"] + p["proj.bias"], 1e-10)


def test_a_part_need_not_choose_itself_and_others_have_exactly_no_influence():
    layer = build(local=False)
    graph = on(layer, batch())
    parts = record(layer, graph)
    share, _ = routing_by_hand(layer, parts, X, np.ones(N, bool))
    assert (np.diag(share) == 0).any() and (np.diag(share) > 0).any()
    routed = (share > 0)[parts.part][:, parts.part]
    np.testing.assert_array_equal(parted.influence(layer, X, graph), routed | np.eye(N, dtype=bool))


def test_routing_has_no_gradient_unless_it_is_asked_for():
    """Soft weights are constants by default: differences see them, the gradient does not."""
    x = jnp.asarray(X)
    graph = on(build(), batch())
    derivatives(lambda x: build()(x, graph), x)
    derivatives(lambda x: build(soft_routing=True, diff_routing=True)(x, graph), x)
    layer = build(soft_routing=True)
    with pytest.raises(AssertionError):
        derivatives(lambda x: layer(x, graph), x)
    table = of_graphs(graph.structure(layer.structures[0]))

    def gathered(x):
        return [table.gather(a) for a in jnp.split(layer.qkv(x), 3, axis=1)]

    fixed = layer.route(*gathered(x)[:2], table.valid)

    def held(x):
        out = table.scatter(layer.attend(*gathered(x), table.valid, fixed)[0])
        return layer.proj(out + layer.enhance(layer.qkv(x)[:, 2 * D :], graph))

    both = [jax.jit(jax.grad(lambda x, f=f: (f(x) ** 2).sum()))(x) for f in (lambda x: layer(x, graph), held)]
    close(*both, 1e-10)


def test_other_numbers_for_the_parts_and_another_order_of_choice_change_nothing():
    layer = build(soft_routing=True)
    graph = on(layer, batch())
    parts, edges = record(layer, graph), Edges.of(graph)
    slot = parts.slot[parts.part]
    most = np.bincount(parts.graph)[cases.graph_ids(graph)]
    other = dataclasses.replace(graph, derived={str(layer.structures[0]): given(edges, most - 1 - slot)})
    close(run(layer, X, other), run(layer, X, graph), 1e-10)
    q, k, v = (jnp.asarray(normal(2, 3, 2, D, seed=s)) for s in range(3))
    there = jnp.asarray(np.arange(12).reshape(2, 3, 2) != 5)
    found = layer.route(q, k, there)
    back = Routing(found.index[..., ::-1], found.weight[..., ::-1], found.valid[..., ::-1], found.score)
    close(layer.attend(q, k, v, there, found)[0], layer.attend(q, k, v, there, back)[0], 1e-12)
    first = Routing(*(a[..., :1] for a in found[:3]), found.score)
    masked = found._replace(valid=found.valid & (jnp.arange(2) == 0))
    close(layer.attend(q, k, v, there, masked)[0], layer.attend(q, k, v, there, first)[0], 1e-12)


def test_no_part_is_chosen_where_all_are_empty():
    layer = build(local=False)
    graph = on(layer, batch())
    nobody = cases.graph_ids(graph) != 0
    y = run(layer, np.where(nobody[:, None], X, np.nan), graph, nobody)
    close(y[~nobody], np.broadcast_to(parted.values(layer)["proj.bias"], (int((~nobody).sum()), D)), 1e-12)
    found = route(jnp.ones((1, 2, 3)), jnp.ones((1, 2, 3)), jnp.zeros((1, 2), bool), 5, scale=1.0)
    assert found.index.shape == (1, 2, 2) and not found.valid.any() and not found.weight.any()


def test_reached_are_all_of_a_graph_with_somebody():
    layer = build()
    graph = on(layer, batch(absent=3))
    present = np.stack([np.arange(N) == i for i in (0, 8)], 1)
    ids, there = cases.graph_ids(graph), cases.present(graph)
    found = layer.reached(jnp.asarray(present), graph)
    np.testing.assert_array_equal(found, np.stack([(ids == g) & there for g in (0, 1)], 1))


def test_parts_of_other_graphs_are_gathered_with_a_gradient_that_is_no_scatter():
    x = jnp.asarray(normal(2, 3, 4))
    index = jnp.asarray([[[0, 2], [2, 2], [1, 0]], [[1, 0], [0, 0], [0, 1]]], jnp.int32)
    close(routed(x, index), np.stack([np.asarray(x)[g][np.asarray(index)[g]] for g in range(2)]), 1e-15)
    derivatives(lambda x: routed(x, index) ** 2, x)
    layer = build()
    assert "scatter" not in parted.gradient_text(layer, X, on(layer, batch()))


def test_two_seeds_with_other_routing_are_each_as_alone():
    layer = build()
    graph = on(layer, batch())
    graphdef, state = nnx.split(layer)

    def step(state, x):
        return jax.value_and_grad(lambda s: (nnx.merge(graphdef, s)(x, graph, PRESENT) ** 2).sum())(state)

    seeds = [jax.tree.map(lambda a, i=i: a + 0.3 * i * jnp.cos(a), state) for i in range(2)]
    together = jax.jit(jax.vmap(step, (0, None)))(jax.tree.map(lambda *a: jnp.stack(a), *seeds), jnp.asarray(X))
    for i, seed in enumerate(seeds):
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(jax.jit(step)(seed, X)), strict=True):
            close(a[i], b, 1e-9)


@pytest.mark.filterwarnings("ignore:bcsr_dot_general")  # of halves on a CPU: it is slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_it_keeps_the_dtype(dtype):
    layer = build(soft_routing=True, topk=9)
    graph = on(layer, batch())
    expected = run(layer, X, graph, PRESENT)
    graphdef, state = nnx.split(layer)
    found = run(nnx.merge(graphdef, jax.tree.map(lambda a: a.astype(dtype), state)), X.astype(dtype), graph, PRESENT)
    assert found.dtype == dtype
    np.testing.assert_allclose(np.asarray(found, float), expected, atol=1e-5 if dtype == jnp.float32 else 0.2)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(heads=3), "graph layer 'biformer': heads=3 does not divide the width D=8"),
        (dict(topk=0), "graph layer 'biformer': topk=0; expected an integer >= 1"),
        (dict(topk=2.0), "graph layer 'biformer': topk=2.0; expected an integer >= 1"),
        (dict(diff_routing=True), "graph layer 'biformer': diff_routing=True with soft_routing=False"),
        (dict(heads=0), "graph layer 'biformer': heads=0"),
        (dict(heads=-1), "graph layer 'biformer': heads=-1"),
        (dict(size=0), "graph layer 'biformer': .*size=0; expected an integer >= 1"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        functools.partial(Biformer, D, rngs=nnx.Rngs(0))(**options)


def test_what_is_not_said():
    wanted = dict(heads=4, parts="sqrt", size=None, weighted=False, topk=4)
    assert zoo.options("layer", "biformer") == wanted | dict(
        soft_routing=False, diff_routing=False, local=True, rate=0.0
    )


def test_weights_of_edges_are_asked_for():
    assert dict(build(weighted=True).structures[0].options)["weighted"]


def test_the_convolutions_stand_in_starts_as_small_as_its_nine_weights_would():
    """Uniform up to 1 / sqrt(9) has the variance 1 / 27."""
    enhance = Biformer(512, heads=1, rngs=nnx.Rngs(0)).enhance
    for weight in (enhance.own, enhance.neighbour):
        np.testing.assert_allclose(weight[...].std(), 27**-0.5, rtol=0.12)
