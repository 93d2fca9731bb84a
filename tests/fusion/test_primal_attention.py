"""Primal-Attention beyond its golden numbers: the sampled tokens, what reaches whom, the objective, its memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.fusion.primal_attention import PrimalAttention, sampled
from fusion_jax.graphs import Graph
from fusion_jax.records import Context
from tests.helpers import drawn, run, state
from tests.nn.reference import dropped

N, M, D, H, RANK = 9, 3, 8, 2, 2
SMALL = dict(depth=2, heads=H, rank=RANK, samples=5, rate=0.0)
RNG = np.random.default_rng(7)
X, MASK = RNG.normal(size=(N, M, D)), RNG.random((N, M)) < 0.7
MASK[0], MASK[1] = True, False


def primal(**options) -> PrimalAttention:
    return drawn(lambda: PrimalAttention(M, D, **{**SMALL, **options}, rngs=nnx.Rngs(0)))


def edgeless(*counts: int) -> Graph:
    return Graph.create([], [], np.array(counts or (N,)), looped=False)


def call(module, x=X, mask=MASK, graph=None):
    return run(module, jnp.asarray(x), jnp.asarray(mask), edgeless() if graph is None else graph)


def layer(module, i=0):
    return jax.tree.map(lambda a: a[i], module.layers)


def places(valid, graph, samples=5) -> np.ndarray:
    return np.asarray(sampled(jnp.asarray(valid), graph, samples))


# ---- which tokens are sampled


def test_places_are_the_truncated_linspace():
    assert places(np.ones((9, 1), bool), edgeless(9), 6).tolist() == [[0, 1, 3, 4, 6, 8]]
    assert places(np.ones((2, 1), bool), edgeless(2), 5).tolist() == [[0, 0, 0, 0, 1]]
    assert places(np.ones((3, 1), bool), edgeless(3), 1).tolist() == [[0]]


@pytest.mark.parametrize("samples", [1, 4, 7, 30])
def test_places_run_over_the_present_tokens_of_each_graph(samples):
    counts = np.array([5, 1, 0, 12, 3])
    valid = RNG.random((counts.sum(), M)) < 0.6
    valid[5] = [False, True, False]
    found = places(valid, edgeless(*counts), samples)
    assert found.shape == (len(counts), samples)
    for row, start, count in zip(found, np.cumsum(counts) - counts, counts, strict=True):
        there = start * M + np.flatnonzero(valid[start : start + count])
        if there.size:
            steps = np.arange(samples) * (there.size - 1) // max(samples - 1, 1)
            np.testing.assert_array_equal(row, there[steps])


def test_places_of_millions_of_tokens_do_not_overflow():
    n, samples = 1_000_000, 3000  # j (V - 1) passes 2^31
    found = places(np.ones((n, 1), bool), edgeless(n), samples)[0]
    np.testing.assert_array_equal(found, np.arange(samples) * (n - 1) // (samples - 1))


# ---- who reaches whom


def test_a_token_that_is_not_sampled_reaches_no_other():
    module = primal()
    index = set(places(MASK, edgeless())[0].tolist())
    before, moves = np.asarray(call(module).tokens), 0
    for token in np.flatnonzero(MASK):
        i, m = divmod(int(token), M)
        x = X.copy()
        x[i, m] += 0.5
        moved = np.abs(np.asarray(call(module, x).tokens) - before).max(-1) > 0
        assert moved[i, m]
        assert (moved.sum() == 1) == (token not in index)
        moves += token not in index
    assert 0 < moves < MASK.sum()


def test_nodes_permuted_with_their_places_get_the_same():
    """With places of their own they do not: no symmetry is declared."""
    module, order = primal(), RNG.permutation(N)
    index, rank = places(MASK, edgeless()), np.argsort(order)
    carried = rank[index // M] * M + index % M
    x = np.where(MASK[..., None], X, 0)
    before = call(module)
    after = run(module, x[order], MASK[order], edgeless(), carried, by=PrimalAttention.fuse)
    np.testing.assert_allclose(after.out, before.out[order], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(after.losses["ksvd"], before.losses["ksvd"], rtol=1e-10)
    assert np.abs(call(module, x[order], MASK[order]).out - before.out[order]).max() > 1e-3
    assert PrimalAttention.symmetries == ()


def test_graphs_of_a_batch_are_sequences_of_their_own():
    module = primal()
    both, first, second = (
        call(module, X[rows], MASK[rows], edgeless(*counts))
        for rows, counts in ((slice(None), (4, N - 4)), (slice(4), (4,)), (slice(4, None), (N - 4,)))
    )
    np.testing.assert_allclose(both.out, np.concatenate([first.out, second.out]), rtol=1e-10, atol=1e-12)
    j = [state(f, "objective") for f in (both, first, second)]
    np.testing.assert_allclose(j[0], np.concatenate(j[1:]), rtol=1e-10)
    # J^2 is taken of every graph, before the mean over them
    np.testing.assert_allclose(both.losses["ksvd"], (first.losses["ksvd"] + second.losses["ksvd"]) / 2, rtol=1e-10)


def test_a_row_that_stands_for_no_node_is_neither_sampled_nor_counted():
    module, there = primal(), np.arange(N) != 0
    gone = call(module, graph=dataclasses.replace(edgeless(), present=jnp.asarray(there)))
    without = call(module, X[1:], MASK[1:], edgeless(N - 1))
    np.testing.assert_allclose(gone.out[1:], without.out, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(gone.losses["ksvd"], without.losses["ksvd"], rtol=1e-10)


# ---- what is computed


def test_a_layer_is_its_equations():
    """In NumPy, J over the present tokens only."""
    module = primal(depth=1)
    one, found = layer(module), call(module)
    x, valid = np.where(MASK[..., None], X, 0).reshape(-1, D), MASK.ravel()
    index, d = places(MASK, edgeless())[0], D // H

    def heads(y):
        return np.asarray(y).reshape(-1, H, d)

    def phi(y):
        return heads(y) / np.linalg.norm(heads(y), axis=-1, keepdims=True)

    q, k, seen = phi(one.query_projection(x)), phi(one.key_projection(x)), heads(x[index])
    left, right = np.asarray(one.We[...]), np.asarray(one.Wr[...])
    inverse, y, e, r = np.asarray(one.inner_attention.Lambda[...]), [], [], []
    for h in range(H):
        e.append(q[:, h] @ (seen[:, h].T @ left[h]))
        r.append(k[:, h] @ (seen[:, h].T @ right[h]))
        y.append(one.inner_attention.concate_weight(np.concatenate([e[h], r[h]], -1)))
    z = one.norm1(x + np.asarray(one.out_projection(np.concatenate(y, -1))))
    z = np.asarray(one.norm2(z + one.conv2(jax.nn.gelu(one.conv1(z), approximate=False)))).reshape(N, M, D)
    np.testing.assert_allclose(found.tokens, np.where(MASK[..., None], z, 0), rtol=1e-9, atol=1e-12)
    out = np.where(MASK[..., None], z, 0).sum(1) / np.maximum(MASK.sum(1), 1)[:, None]
    np.testing.assert_allclose(found.out, out, rtol=1e-9, atol=1e-12)
    size = [((s[h][valid] * inverse[h]) ** 2).sum(-1).mean() / 2 for s in (e, r) for h in range(H)]
    j = sum(size) / H - np.mean([np.trace(left[h].T @ right[h]) for h in range(H)])
    np.testing.assert_allclose(state(found, "objective")[0, 0, 0], j, rtol=1e-9)
    np.testing.assert_allclose(found.losses["ksvd"], 0.1 * j**2, rtol=1e-9)


def test_the_length_of_queries_and_keys_has_no_say():
    module = primal()
    before = call(module)
    for projection in (module.layers.query_projection, module.layers.key_projection):
        projection.kernel[...], projection.bias[...] = 3 * projection.kernel[...], 3 * projection.bias[...]
    after = call(module)
    np.testing.assert_allclose(after.out, before.out, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(after.losses["ksvd"], before.losses["ksvd"], rtol=1e-10)


def test_without_weights_of_the_sampled_tokens_every_token_gets_the_biases():
    module = primal()
    module.layers.We[...] = module.layers.Wr[...] = jnp.zeros_like(module.layers.We[...])
    one = layer(module)
    scores = one.attention(jnp.asarray(X), jnp.asarray(places(MASK, edgeless())), edgeless())
    bias = jnp.tile(one.inner_attention.concate_weight.bias[...], H)
    np.testing.assert_allclose(scores.out, jnp.broadcast_to(one.out_projection(bias), X.shape), rtol=1e-12)
    assert float(call(module).losses["ksvd"]) == 0


def test_fewer_tokens_than_are_sampled():
    module = primal(samples=50)
    for mask in (MASK[:2], np.zeros((2, M), bool)):
        found = call(module, X[:2], mask, edgeless(2))
        assert np.isfinite(found.out).all() and np.isfinite(found.losses["ksvd"])
        assert not np.asarray(found.out[1]).any()


@pytest.mark.parametrize("trace", ["weights", "data"])
@pytest.mark.parametrize("means", ["graph", "batch"])
def test_the_objective_of_a_batch(trace, means):
    """Of the same energies: means of each graph, or of all tokens; the trace of the weights or of the projections."""
    graph, module = edgeless(4, 0, N - 4), primal(depth=1, trace=trace, means=means)
    one, found = layer(module), call(module, graph=graph)
    x = jnp.asarray(np.where(MASK[..., None], X, 0))
    scores = one.attention(x, jnp.asarray(places(MASK, graph)), graph)
    inverse = np.asarray(one.inner_attention.Lambda[...])
    size = sum(((np.asarray(s) * inverse) ** 2).sum(-1).mean(-1) / 2 for s in (scores.e, scores.r))
    graphs = [np.arange(N) < 4, np.arange(N) >= 4]
    if trace == "weights":
        traces = [np.mean([np.trace(a.T @ b) for a, b in zip(one.We[...], one.Wr[...], strict=True)])] * 2
    else:
        pairs = [zip(scores.we[g], scores.wr[g], strict=True) for g in (0, 2)]
        traces = [np.mean([np.trace(a.T @ b) for a, b in pair]) for pair in pairs]
    j = [size[g][MASK[g]].mean() - t for g, t in zip(graphs, traces, strict=True)]
    if means == "batch":
        j = [size[MASK].mean() - np.mean(traces)] * 2
    np.testing.assert_allclose(found.losses["ksvd"], 0.1 * np.mean(np.square(j)), rtol=1e-9)
    np.testing.assert_allclose(state(found, "objective")[[0, -1], 0, 0], j, rtol=1e-9)


def test_the_inverse_singular_values_are_in_the_loss_only():
    module = primal()
    before = call(module)
    module.layers.inner_attention.Lambda[...] = 2 * module.layers.inner_attention.Lambda[...]
    after = call(module)
    np.testing.assert_array_equal(after.out, before.out)
    assert abs(after.losses["ksvd"] - before.losses["ksvd"]) > 1e-3
    assert call(primal(eta=0.0)).losses == {}


def test_each_heads_weights_start_as_one_vector_of_length_one():
    module = PrimalAttention(M, D, rngs=nnx.Rngs(0))
    for w in (module.layers.We, module.layers.Wr):
        assert w.shape == (2, 8, 200, 20)
        flat = np.asarray(w[0]).reshape(8, -1)
        np.testing.assert_allclose(flat @ flat.T, np.eye(8), atol=1e-5)
    inverse = np.asarray(module.layers.inner_attention.Lambda[...])
    assert inverse.min() >= 0 and inverse.max() < 1 and inverse.std() > 0.2


def test_memory_grows_with_the_nodes_and_no_faster():
    """A training step's, as compiled; the matrix of all pairs of tokens would be 64 MB and 256 MB."""
    module = PrimalAttention(2, 16, heads=2, rank=4, rngs=nnx.Rngs(0))

    def bytes_of(n):
        graph = edgeless(n)

        def loss(x, mask):
            fused = module(x, mask, graph)
            return (fused.out**2).sum() + fused.losses["ksvd"]

        shapes = jax.ShapeDtypeStruct((n, 2, 16), jnp.float32), jax.ShapeDtypeStruct((n, 2), bool)
        return jax.jit(jax.grad(loss)).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    small, large = bytes_of(2000), bytes_of(4000)
    assert large < 2.2 * small and large < 64e6


def test_it_computes_in_halves():
    module = PrimalAttention(M, D, **{**SMALL, "rate": 0.1}, rngs=nnx.Rngs(0))
    halves = nnx.merge(nnx.graphdef(module), jax.tree.map(lambda a: a.astype(jnp.bfloat16), nnx.state(module)))
    found = call(halves, X.astype(jnp.bfloat16))
    assert found.out.dtype == jnp.bfloat16 and np.isfinite(found.out.astype(jnp.float32)).all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(rank=0), "fusion 'primal_attention': rank=0; expected an integer >= 1"),
        (dict(samples=0), "fusion 'primal_attention': samples=0"),
        (dict(eta=-1.0), "fusion 'primal_attention': eta=-1.0"),
        (dict(trace="weight"), r"trace='weight' \(did you mean 'weights'\?\); expected one of weights, data"),
        (dict(means="graphs"), r"means='graphs' \(did you mean 'graph'\?\)"),
        (dict(heads=3), "fusion 'primal_attention': heads=3 does not divide the width D=8"),
    ],
)
def test_an_option_out_of_range_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        PrimalAttention(M, D, **{**SMALL, **options}, rngs=nnx.Rngs(0))


def test_what_is_not_said():
    wanted = dict(depth=2, heads=8, rank=20, samples=None, hidden=None, eta=0.1, trace="weights", means="graph")
    assert zoo.options("fusion", "primal_attention") == wanted | dict(rate=0.1)
    module = nnx.eval_shape(lambda: PrimalAttention(M, D, heads=H, rank=3, rngs=nnx.Rngs(0)))
    assert module.samples == 30 and module.layers.conv1.out_features == 4 * D


def test_where_a_layer_drops_and_how_much(monkeypatch):
    module, x, mask = primal(rate=0.2, hidden=7), jnp.asarray(X), jnp.asarray(MASK)
    found = dropped(monkeypatch, lambda key: module(x, mask, edgeless(), Context(key=key)).out)
    assert found == [((N, M, D), 0.2), ((N, M, 7), 0.2), ((N, M, D), 0.2)]  # layers are a loop


def test_layers_drop_other_entries():
    """Layers that add ones alone: with the same entries dropped in both, those of a token would have two values."""
    module = primal(rate=0.5)
    layers = module.layers = jax.tree.map(jnp.zeros_like, module.layers)
    layers.conv2.bias[...] = layers.norm1.scale[...] = layers.norm2.scale[...] = jnp.ones((2, D))
    x, mask = jnp.zeros((N, M, D)), np.ones((N, M), bool)
    tokens = np.asarray(run(module, x, mask, edgeless(), Context(key=jax.random.key(0))).tokens).reshape(-1, D)
    assert max(len(np.unique(np.round(token, 6))) for token in tokens) > 2


def test_the_loss_is_the_mean_over_layers_of_the_squared_objective():
    found = call(primal())
    j = state(found, "objective")
    assert j.shape == (N, 2, 1) and np.ptp(j[0]) > 1e-3
    np.testing.assert_allclose(found.losses["ksvd"], 0.1 * (j[0] ** 2).mean(), rtol=1e-10)
    (shown,) = found.states
    np.testing.assert_array_equal(shown.mask, np.repeat(MASK.any(1)[:, None], 2, 1))


def test_the_two_projections_start_from_other_numbers():
    module = PrimalAttention(M, D, heads=H, rank=2, rngs=nnx.Rngs(0))
    assert np.abs(module.layers.We[...] - module.layers.Wr[...]).max() > 0.1
