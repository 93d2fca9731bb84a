"""Neighborhood attention: both forms, its two limits, the border rule, merging of halves, missing nodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.neighborhood_attention import NeighborhoodAttention
from fusion_jax.nn.attention import attend
from fusion_jax.nn.neighborhood import merge, nearest
from fusion_jax.nn.windows import window_edges, window_mask, window_table
from tests.helpers import to_float64

N, D, H = 9, 16, 4
FORMS = ("table", "edges")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D))
Q, K, V = RNG.normal(size=(3, N, H, D // H))


def complete() -> Graph:
    """Everyone sees everyone, with distinct weights."""
    receivers, senders = np.nonzero(~np.eye(N, dtype=bool))
    weight = RNG.permutation(senders.size) / senders.size
    return Graph.create(senders, receivers, N, {"weight": weight})


GRAPH = complete()


def build(form="table", **options) -> NeighborhoodAttention:
    return to_float64(NeighborhoodAttention(D, heads=H, form=form, rngs=nnx.Rngs(0), **options))


def expected_rows(k: int, dilation: int) -> np.ndarray:
    """bool [N, N] from the definition: self, then by weight, every dilation-th."""
    mask = np.zeros((N, N), bool)
    senders, receivers = np.asarray(GRAPH.senders), np.asarray(GRAPH.receivers)
    for i in range(N):
        mine = np.flatnonzero(receivers == i)
        ranked = [i, *senders[mine[np.argsort(-np.asarray(GRAPH.edges["weight"])[mine])]]]
        mask[i, ranked[: k * dilation : dilation]] = True
    return mask


@pytest.mark.parametrize("k, dilation", [(4, 1), (3, 2), (4, 3), (20, 1)])
def test_both_forms_are_dense_masked_attention(k, dilation):
    mask = expected_rows(k, dilation)
    dense = attend(jnp.asarray(Q), jnp.asarray(K), jnp.asarray(V), mask)[0]
    for form in FORMS:
        out, _ = build(form, kernel_size=k, dilation=dilation).attend(Q, K, V, GRAPH.looped)
        np.testing.assert_allclose(out, dense, rtol=1e-10, atol=1e-12)
    neighbors = nearest(GRAPH.looped, k, dilation)
    assert (np.asarray(neighbors.table) < GRAPH.looped.num_edges).sum() == mask.sum()
    first = np.asarray(GRAPH.looped.senders)[np.asarray(neighbors.table)[:, 0]]
    np.testing.assert_array_equal(first, np.arange(N))


def test_without_weights_the_lowest_ids_are_nearest():
    graph = Graph.create(np.asarray(GRAPH.senders), np.asarray(GRAPH.receivers), N).looped
    table = np.asarray(graph.senders)[np.asarray(nearest(graph, 3).table)]
    np.testing.assert_array_equal(table[[0, 1, 5]], [[0, 1, 2], [1, 0, 2], [5, 0, 1]])


@pytest.mark.parametrize("form", FORMS)
def test_limits(form):
    """k = N is full self-attention, k = 1 the value projection alone."""
    layer = build(form, kernel_size=N)
    q, k, v = jnp.moveaxis(layer.qkv(X).reshape(N, 3, H, -1), 1, 0)
    full = layer.proj(attend(q, k, v)[0].reshape(N, D))
    np.testing.assert_allclose(layer(X, GRAPH), full, rtol=1e-10, atol=1e-12)
    alone = build(form, kernel_size=1)
    np.testing.assert_allclose(alone(X, GRAPH), alone.proj(v.reshape(N, D)), rtol=1e-10, atol=1e-12)


def test_gradients_of_the_forms_agree():
    """The gather of the table and the segment form have the same gradient; dilation leaves empty slots."""
    grads = []
    for form in FORMS:
        graphdef, state = nnx.split(build(form, kernel_size=4, dilation=3))

        def loss(state, x, graphdef=graphdef):
            return (nnx.merge(graphdef, state)(x, GRAPH) ** 2).sum()

        grads.append(jax.tree.leaves(jax.jit(jax.grad(loss, (0, 1)))(state, X)))
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_merging_halves(form):
    """Two disjoint edge sets, one of them empty for some nodes, merge to one pass over both."""
    looped = GRAPH.looped
    senders, receivers = np.asarray(looped.senders), np.asarray(looped.receivers)
    first = (senders < 4) & (receivers != 2)
    layer = build(form, kernel_size=N)
    parts = [layer.attend(Q, K, V, Graph.create(senders[half], receivers[half], N)) for half in (first, ~first)]
    assert np.isneginf(parts[0][1][2]).all() and not np.asarray(parts[0][0][2]).any()
    whole = layer.attend(Q, K, V, looped)
    for ours, reference in zip(merge(parts), whole, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_missing_nodes(form):
    """A node marked as missing has weight exactly 0, NaN or not; who sees missing ones only gets 0."""
    present = np.ones(N, bool)
    present[[1, 4]] = False
    senders, receivers = np.asarray(GRAPH.looped.senders), np.asarray(GRAPH.looped.receivers)
    keep = (receivers != 7) | np.isin(senders, [1, 4])
    graph = Graph.create(senders[keep], receivers[keep], N)
    layer = build(form, kernel_size=N)
    nan = [np.where(present[:, None, None], a, np.nan) for a in (K, V)]
    out, lse = layer.attend(Q, *nan, graph, present)
    mask = np.zeros((N, N), bool)
    mask[receivers[keep], senders[keep]] = True
    dense = attend(jnp.asarray(Q), jnp.asarray(K), jnp.asarray(V), mask & present)[0]
    np.testing.assert_allclose(out, dense, rtol=1e-10, atol=1e-12)
    assert not np.asarray(out[7]).any() and np.isneginf(lse[7]).all()


def test_windows_shift_at_borders():
    """Window 5 on 11 positions: always five keys; 0, 1, 2 share one window and so do 8, 9, 10."""
    mask = window_mask([11], 5)
    assert (mask.sum(1) == 5).all()
    for group in ([0, 1, 2], [8, 9, 10]):
        assert (mask[group] == mask[group[0]]).all()
    assert (mask[3] != mask[2]).any()
    np.testing.assert_array_equal(np.flatnonzero(window_mask([9], 4)[4]), [2, 3, 4, 5])  # even: leans left
    assert window_mask([6], 6).all()
    np.testing.assert_array_equal(window_mask([6], 1), np.eye(6, dtype=bool))
    causal = window_mask([6], 3, causal=True)
    np.testing.assert_array_equal(causal.sum(1), [1, 2, 3, 3, 3, 3])
    assert not np.triu(causal, 1).any()


def test_windows_dilated_and_strided():
    """Residue classes do not mix and have their own lengths; a stride makes groups share a window."""
    mask = window_mask([11], 3, dilation=2)
    i, j = np.nonzero(mask)
    assert (i % 2 == j % 2).all() and (mask.sum(1) == 3).all()
    np.testing.assert_array_equal(np.flatnonzero(mask[9]), [5, 7, 9])  # the odd class ends at 9, not at 10
    strided = window_mask([12], 5, stride=2)
    assert (strided[0::2] == strided[1::2]).all() and (strided[4] != strided[6]).any()


def test_window_table_and_edges_are_the_mask():
    options = {"dilation": (2, 1), "causal": (False, True)}
    mask = window_mask([7, 6], (3, 2), **options)
    table, valid = window_table([7, 6], (3, 2), **options)
    np.testing.assert_array_equal(table[:, 0], np.arange(42))
    for row, ok, seen in zip(table, valid, mask, strict=True):
        assert sorted(row[ok]) == list(np.flatnonzero(seen))
    senders, receivers = window_edges([7, 6], (3, 2), **options)
    assert mask[receivers, senders].all() and len(senders) == mask.sum()
    assert not valid.all()  # causal rows at the start have fewer keys


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: window_mask([9], 5, dilation=2), "kernel=5 times dilation=2"),
        (lambda: window_mask([9], 3, stride=4), "stride=4"),
        (lambda: window_mask([9, 9], (3, 3, 3)), "kernel"),
        (lambda: NeighborhoodAttention(D, heads=3, rngs=nnx.Rngs(0)), "neighborhood_attention.*heads=3"),
        (lambda: NeighborhoodAttention(D, form="dense", rngs=nnx.Rngs(0)), "form='dense'"),
        (lambda: NeighborhoodAttention(D, kernel_size=0, rngs=nnx.Rngs(0)), "kernel_size=0"),
    ],
)
def test_refusals(call, match):
    with pytest.raises(ValueError, match=match):
        call()
