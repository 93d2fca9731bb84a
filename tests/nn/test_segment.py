"""Message passing against dense matrices and loops over edges; its derivatives against differences."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from fusion_jax.graphs import Graph
from fusion_jax.nn.segment import (
    at_receivers,
    at_senders,
    degree,
    edge_attend,
    edge_dot,
    plain_xla,
    propagate,
    segment_max,
    segment_softmax,
    segment_sum,
)
from tests.nn.reference import (
    RECEIVERS,
    SENDERS,
    WEIGHT,
    N,
    close,
    derivatives,
    graph,
    matrix,
    normal,
    random_only_with_a_key,
)

E = len(SENDERS)
X, DATA = normal(N, 3), normal(E, 3, seed=1)
VIEWS = (graph(), Graph.create([1, 4, 4], [0, 0, 5], N, {"weight": np.array([2.0, 1.0, 0.5])}))
GRAPHS = {
    "weighted": graph(),
    "looped": graph().looped,
    "view": dataclasses.replace(graph(False), views=VIEWS).view(1),
    "batch": Graph.create([0, 1, 3, 4], [1, 1, 4, 3], [2, 0, 3, 1], {"weight": np.array([1.0, 2.0, 3.0, 4.0])}),
    "one node": Graph.create([0, 0], [0, 0], 1, {"weight": np.array([1.0, 2.0])}),
}
each = pytest.mark.parametrize("name", GRAPHS)


def rows_of(g):
    """The edges each node receives."""
    return [np.flatnonzero(np.asarray(g.receivers) == i) for i in range(g.num_nodes)]


@each
def test_propagate_is_a_product_with_the_matrix_of_the_edges(name):
    g = GRAPHS[name]
    n, weight = g.num_nodes, g.edges["weight"]
    x, wide = normal(n, 3), normal(n, 2, 4)
    close(propagate(x, g), matrix(g) @ x)
    close(propagate(x, g, weight), matrix(g, weight) @ x)
    close(propagate(x[:, 0], g, weight), matrix(g, weight) @ x[:, 0])
    close(propagate(wide, g, weight), np.einsum("ij,jhd->ihd", matrix(g, weight), wide))
    per_head = jnp.stack([weight, 3 * weight + 1], 1)
    expected = [matrix(g, per_head[:, h]) @ wide[:, h] for h in range(2)]
    close(propagate(wide, g, per_head), np.stack(expected, 1))


def test_propagate_keeps_the_dtype_of_what_it_carries():
    for dtype in (jnp.float32, jnp.float64):
        assert propagate(X.astype(dtype), graph(), graph().edges["weight"]).dtype == dtype
        assert propagate(X.astype(dtype), graph()).dtype == dtype


def test_without_edges_everybody_gets_nothing():
    none = Graph.create([], [], N)
    assert not propagate(X, none).any() and propagate(X, none).shape == X.shape
    assert not segment_sum(jnp.zeros((0, 2)), none).any() and not degree(none).any()
    assert propagate(jnp.zeros((N, 0)), graph()).shape == (N, 0)
    assert edge_attend(X[:, None], X[:, None], X[:, None], none)[0].shape == (N, 1, 3)


@each
def test_sums_maxima_and_values_at_the_ends_of_edges(name):
    g = GRAPHS[name]
    data, x, rows = normal(g.num_edges, 2, 2, seed=1), normal(g.num_nodes, 2, 2), rows_of(g)
    close(segment_sum(data, g), np.stack([np.asarray(data)[r].sum(0) for r in rows]))
    close(segment_max(data, g), np.stack([np.asarray(data)[r].max(0, initial=-np.inf) for r in rows]))
    close(degree(g), np.float32([len(r) for r in rows]))
    assert degree(g).dtype == jnp.float32 and degree(g, jnp.float64).dtype == jnp.float64
    close(at_senders(x, g), np.asarray(x)[np.asarray(g.senders)])
    close(at_receivers(x, g), np.asarray(x)[np.asarray(g.receivers)])


@each
@pytest.mark.parametrize("masked", [False, True])
def test_softmax_over_the_edges_of_a_receiver(name, masked):
    g = GRAPHS[name]
    logits = np.array(30 * normal(g.num_edges, 2))
    seen = np.arange(g.num_edges) % 3 > 0 if masked else np.ones(g.num_edges, bool)
    expected = np.zeros_like(logits)
    for rows in rows_of(g):
        rows = rows[seen[rows]]
        expected[rows] = softmax(logits[rows], axis=0) if len(rows) else 0
    logits[~seen] = np.nan
    close(segment_softmax(jnp.asarray(logits), g, jnp.asarray(seen) if masked else None), expected)


def test_a_mask_of_every_head_and_a_receiver_whose_edges_are_all_masked():
    logits, seen = normal(E, 2), np.ones((E, 2), bool)
    seen[np.asarray(graph().receivers) == 2, 1] = False
    weights = np.asarray(segment_softmax(logits, graph(), jnp.asarray(seen)))
    totals = np.stack([weights[rows].sum(0) for rows in rows_of(graph())])
    close(totals, np.array([[1, 1], [1, 1], [1, 0], [1, 1], [1, 1], [0, 0]]))


@each
def test_attention_over_edges_by_hand(name):
    g = GRAPHS[name]
    n, s = g.num_nodes, np.asarray(g.senders)
    q, k, v = (np.array(normal(n, 2, d, seed=d)) for d in (3, 3, 4))
    k[:, :, :] += 1
    seen = np.arange(g.num_edges) % 4 != 1
    for mask, scale, bias in itertools.product((None, seen), (None, 0.3), (None, normal(g.num_edges, 2, seed=9))):
        out, weights = edge_attend(*map(jnp.asarray, (q, k, v)), g, mask, scale=scale, bias=bias)
        expected, shares = np.zeros((n, 2, 4)), np.zeros((g.num_edges, 2))
        for i, rows in enumerate(rows_of(g)):
            rows = rows if mask is None else rows[mask[rows]]
            for h in range(2) if len(rows) else ():
                logits = k[s[rows], h] @ q[i, h] * (1 / np.sqrt(3) if scale is None else scale)
                shares[rows, h] = softmax(logits if bias is None else logits + np.asarray(bias)[rows, h])
                expected[i, h] = shares[rows, h] @ v[s[rows], h]
        close(out, expected)
        close(weights, shares)


def test_a_bias_of_one_column_is_that_of_all_heads():
    q, bias = normal(N, 2, 3), normal(E, seed=4)
    one = edge_attend(q, q, q, graph(), bias=bias)
    for a, b in zip(one, edge_attend(q, q, q, graph(), bias=jnp.stack([bias, bias], 1)), strict=True):
        close(a, b)


def test_dropout_of_edge_attention_needs_a_key_and_keeps_the_mean():
    q, v = normal(N, 2, 3), normal(N, 2, 4, seed=1)

    def run(key):
        return edge_attend(q, q, v, graph(), rate=0.4, key=key)[0]

    random_only_with_a_key(run, unbiased=True)
    _, weights = edge_attend(q, q, v, graph(), rate=0.4, key=jax.random.key(0))
    close(weights, edge_attend(q, q, v, graph())[1])  # those before dropout
    close(edge_attend(q, q, v, graph(), key=jax.random.key(0))[0], run(None))  # none by default


@each
def test_derivatives_with_respect_to_values_and_weights(name):
    g = GRAPHS[name]
    n, e = g.num_nodes, g.num_edges
    x, weight, data = normal(n, 2), g.edges["weight"], normal(e, 2, seed=1)
    derivatives(lambda w, x: propagate(x, g, w), weight, x)
    derivatives(lambda w, x: propagate(x[:, :, None], g, w), normal(e, 2, seed=2), x)
    derivatives(lambda data: segment_sum(data, g), data)
    derivatives(lambda x: (at_senders(x, g) - 2 * at_receivers(x, g)) ** 2, x)
    derivatives(lambda data: segment_softmax(data, g, jnp.arange(e) != 1), data)
    mask = jnp.arange(e) % 4 != 1
    derivatives(lambda q, k, v: edge_attend(q[:, None], k[:, None], v[:, None], g, mask)[0], x, 2 * x, x + 1)


def test_derivatives_under_vmap_and_with_everything_batched():
    g = graph()
    weights, xs = jnp.stack([g.edges["weight"] + i for i in range(3)]), jnp.stack([X + i for i in range(3)])
    for axes in ((0, 0), (0, None), (None, 0)):
        args = tuple(a if axis == 0 else a[0] for a, axis in zip((weights, xs), axes, strict=True))
        derivatives(jax.vmap(lambda w, x: propagate(x, g, w), axes), *args)
        together = jax.jit(jax.vmap(lambda w, x: propagate(x, g, w), axes))(*args)
        alone = [
            propagate(args[1][i] if axes[1] == 0 else X, g, args[0][i] if axes[0] == 0 else weights[0])
            for i in range(3)
        ]
        close(together, jnp.stack(alone))


def test_masked_edges_have_no_influence_on_derivatives():
    g, sender = graph(), 4  # which sends one edge
    mask = g.senders != sender
    logits = jnp.where(mask[:, None], normal(E, 1), jnp.nan)
    d = jax.grad(lambda logits: (segment_softmax(logits, g, mask) ** 2).sum())(logits)
    assert np.isfinite(d).all() and not d[~np.asarray(mask)].any() and d.any()
    d = jax.grad(lambda v: (edge_attend(X[:, None], X[:, None], v[:, None], g, mask)[0] ** 2).sum())(X)
    assert not d[sender].any() and d.any()


@pytest.mark.parametrize("second", [jax.jacfwd, jax.jacrev])
def test_second_derivatives_of_products_are_refused(second):
    """None is needed anywhere, and a wrong one would go unnoticed."""
    with pytest.raises((TypeError, ValueError), match="autodiff"):
        second(jax.grad(lambda w: (propagate(X, graph(), w) ** 3).sum()))(graph().edges["weight"])


def test_the_sum_that_other_backends_run_gives_the_same(monkeypatch):
    x, g = normal(N, 5), graph()
    here = propagate(x, g, g.edges["weight"])
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
    jax.clear_caches()
    close(propagate(x, g, g.edges["weight"]), here)
    derivatives(lambda w, x: propagate(x, g, w), g.edges["weight"], x)
    monkeypatch.undo()
    jax.clear_caches()


def test_reference_edges_are_as_awkward_as_they_say():
    assert WEIGHT.min() == 0 and len(set(zip(SENDERS, RECEIVERS, strict=True))) == E - 1
    assert 5 not in SENDERS and 5 not in RECEIVERS and (SENDERS == RECEIVERS).sum() == 1


@each
def test_traced_for_every_platform_it_has_no_kernel_of_its_own_and_says_the_same(name):
    g = GRAPHS[name]
    x, weight = normal(g.num_nodes, 3), g.edges["weight"]

    def traced():
        return str(jax.make_jaxpr(lambda x: propagate(x, g, weight))(x))

    own = traced()
    with plain_xla():
        plain, said = traced(), propagate(x, g, weight)
    assert "bcsr" in own and "bcsr" not in plain and "platform_index" not in plain and own == traced()
    close(said, propagate(x, g, weight))


def test_logits_of_a_size_at_which_float32_tells_hundreds_apart_have_a_softmax_when_compiled():
    rng = np.random.default_rng(0)
    graph = Graph.create(rng.integers(0, 9, 40), rng.integers(0, 9, 40), 9).looped

    def total(q, k, v):
        out, weights = edge_attend(q, k, v, graph)
        return out.sum(), weights

    compiled = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))
    for _ in range(8):
        given = (jnp.asarray(1e5 * rng.normal(size=(9, 4, 2)), jnp.float32) for _ in range(3))
        (_, weights), slopes = compiled(*given)
        np.testing.assert_allclose(segment_sum(weights, graph), 1, atol=1e-5)
        assert all(np.isfinite(slope).all() for slope in slopes)


@pytest.mark.parametrize("width", [1, 3, 8, 19, 64, 70])
def test_products_of_both_ends_of_an_edge_and_their_gradients_whatever_the_width(width):
    rng, graph = np.random.default_rng(width), Graph.create(*np.random.default_rng(1).integers(0, 7, (2, 30)), 7)
    a, b = (jnp.asarray(rng.normal(size=(7, 3, width))) for _ in range(2))
    weigh = rng.normal(size=(30, 3))

    def plain(a, b):
        return (a[graph.receivers] * b[graph.senders]).sum(-1)

    close(edge_dot(a, b, graph), plain(a, b))
    for one, two in zip(
        *(jax.grad(lambda a, b, f=f: (weigh * f(a, b) ** 2).sum(), (0, 1))(a, b) for f in (edge_own, plain)),
        strict=True,
    ):
        close(one, two)


def edge_own(a, b):
    return edge_dot(a, b, Graph.create(*np.random.default_rng(1).integers(0, 7, (2, 30)), 7))


@pytest.mark.parametrize("heads", [1, 3, 20])
@pytest.mark.parametrize("batched", ["x", "weight", "both"])
def test_seeds_are_no_loop_but_columns_or_heads(heads, batched):
    """One product for all seeds on an accelerator, whichever of matrix and right-hand side is theirs; the numbers are
    those of one after another, gradients too."""
    rng, graph = np.random.default_rng(heads), Graph.create(*np.random.default_rng(2).integers(0, 6, (2, 20)), 6)
    x, weight = jnp.asarray(rng.normal(size=(2, 6, heads, 4))), jnp.asarray(rng.random((2, 20, heads)))
    axes = (0 if batched != "weight" else None, 0 if batched != "x" else None)
    x, weight = x if axes[0] == 0 else x[0], weight if axes[1] == 0 else weight[0]

    def slopes(x, weight):
        return jax.value_and_grad(lambda *a: (propagate(a[0], graph, a[1]) ** 2).sum(), (0, 1))(x, weight)

    found = jax.vmap(slopes, axes)(x, weight)
    each = [slopes(x[s] if axes[0] == 0 else x, weight[s] if axes[1] == 0 else weight) for s in range(2)]
    for one, two in zip(
        jax.tree.leaves(found), jax.tree.leaves(jax.tree.map(lambda *a: jnp.stack(a), *each)), strict=True
    ):
        close(one, two)
    program = jax.export.export(jax.jit(jax.vmap(slopes, axes)), platforms=["cuda"])(x, weight).mlir_module()
    assert "stablehlo.while" not in program


@pytest.mark.parametrize("seed", range(12))
def test_drawn_graphs_and_their_gradients_are_products_with_a_matrix(seed):
    """Of any size: isolated nodes, loops, edges that are there twice, no edges; values and gradients to 1e-12."""
    rng = np.random.default_rng(seed)
    nodes, edges = int(rng.integers(1, 10)), int(rng.integers(0, 30)) * (seed % 4 > 0)
    drawn = Graph.create(*rng.integers(0, nodes, (2, edges)), nodes, {"weight": rng.random(edges)})
    x, weight, out = rng.normal(size=(nodes, 3)), np.asarray(drawn.edges["weight"]), rng.normal(size=(nodes, 3))
    assert weight.dtype == np.float64
    found, pull = jax.vjp(lambda x, weight: propagate(x, drawn, weight), x, weight)
    dense = np.zeros((nodes, nodes))
    np.add.at(dense, (np.asarray(drawn.receivers), np.asarray(drawn.senders)), weight)
    of_weight = (out[np.asarray(drawn.receivers)] * x[np.asarray(drawn.senders)]).sum(1)
    for ours, expected in zip((found, *pull(out)), (dense @ x, dense.T @ out, of_weight), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)
