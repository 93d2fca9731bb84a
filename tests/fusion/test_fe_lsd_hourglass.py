"""Dual hourglass: clusters as keys, how rounds and stacks are put together, batches of graphs, what is missing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.fe_lsd_hourglass import FeLsdHourglass
from fusion_jax.fusion.fe_lsd_hourglass.transformer_fusion import ClusterAttention, ClusterMean, cluster_sum
from fusion_jax.graphs import Graph
from fusion_jax.records import Context
from fusion_jax.structures.base import Structure, derive
from tests.fusion import fe_lsd_equations as equations
from tests.helpers import shown, to_float64

M, D, H = 2, 8, 2
SIZES = np.array([6, 6, 1])
N = int(SIZES.sum())
TRAINING = Context(key=jax.random.key(0))
SMALL = dict(depth=1, stacks=1, heads=H, sr_ratio=2)


def inputs(seed=0):
    """The node of the last graph has no modality."""
    x = jnp.asarray(np.random.default_rng(seed).normal(size=(N, M, D)))
    return x, jnp.ones((N, M), bool).at[1, 1].set(False).at[8, 0].set(False).at[N - 1].set(False)


def graph(size=4, sizes=SIZES):
    """Chains of nodes, cut into clusters."""
    ends = np.cumsum(sizes)
    s = np.concatenate([np.arange(b - n, b - 1) for n, b in zip(sizes, ends, strict=True)])
    made = Graph.create(s, s + 1, sizes)
    return derive([made], (Structure("partition", {"size": size}),))[0]


def parts_of(held):
    (parts,) = held.derived.values()
    return parts


def unsized(held):
    return dataclasses.replace(held, largest=0)


def net(**options):
    return to_float64(FeLsdHourglass(M, D, rngs=nnx.Rngs(0), **{**SMALL, **options}))


def test_sums_of_clusters():
    """Against the indicator of the clusters, with the gradient."""
    parts, x = parts_of(graph()), inputs()[0][:, 0]
    indicator = jnp.asarray(np.arange(len(parts.size))[:, None] == np.asarray(parts.part), jnp.float64)
    np.testing.assert_allclose(cluster_sum(x, parts), indicator @ x, rtol=1e-12)
    weight = jnp.asarray(np.random.default_rng(1).normal(size=(len(parts.size), D)))
    one, two = (
        jax.grad(lambda x, f=f: (weight * f(x)).sum())(x)
        for f in (lambda x: cluster_sum(x, parts), indicator.__matmul__)
    )
    np.testing.assert_allclose(one, two, rtol=1e-12)


def test_means_count_who_is_there():
    parts, (x, mask) = parts_of(graph()), inputs()
    mean, present = to_float64(ClusterMean(D, rngs=nnx.Rngs(0))), mask[:, 1]
    found = mean(x[:, 1].at[1].set(jnp.nan).at[N - 1].set(jnp.nan), present, parts)
    for p, row in enumerate(found):
        held = np.flatnonzero((np.asarray(parts.part) == p) & np.asarray(present))
        expected = np.asarray(x)[held, 1].mean(0) if len(held) else np.zeros(D)
        np.testing.assert_allclose(row, mean.linear(jnp.asarray(expected)), rtol=1e-12)


@pytest.mark.parametrize("size", [1, 4])
def test_attention_to_the_clusters_of_ones_graph(size):
    """By hand, in blocks and in one matrix; a cluster in which nobody is present is no key."""
    held, (x, mask) = graph(size), inputs()
    parts, present, z = parts_of(held), mask.any(1).at[6].set(False), x[:, 0]
    attention = to_float64(ClusterAttention(D, H, positions=0, rngs=nnx.Rngs(0)))
    r = attention.norm(attention.sr(z, present, parts))
    q, k, v = (
        np.asarray(f(a)).reshape(-1, H, D // H)
        for f, a in ((attention.query, z), (attention.key, r), (attention.value, r))
    )
    of, members, valid = np.asarray(parts.graph), np.asarray(parts.members), np.asarray(parts.valid)
    ids, there = np.asarray(held.graph_ids), np.asarray(present)
    out = np.zeros((N, H, D // H))
    for i in range(N - 1):
        keys = [p for p in range(len(k)) if of[p] == ids[i] and there[members[p][valid[p]]].any()]
        for h in range(H):
            w = np.exp(k[keys, h] @ q[i, h] / np.sqrt(D // H))
            out[i, h] = w @ v[keys, h] / w.sum()
    expected = attention.proj(jnp.asarray(out.reshape(N, D)))
    forms = [attention(z, present, each, parts, size) for each in (held, unsized(held))]
    for found, seen in forms:
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(seen.weights.sum(-1)[: N - 1], 1, rtol=1e-12)
        assert not seen.weights[N - 1].any()
    assert forms[0][1].weights.shape[-1] < forms[1][1].weights.shape[-1] == len(k)


def test_positions():
    """Added to the keys, by the number of a cluster within its graph; clusters past the last have none."""
    held, (x, mask) = graph(1), inputs()
    parts, present, z = parts_of(held), mask.any(1), x[:, 0]
    plain, coded = (to_float64(ClusterAttention(D, H, positions=p, rngs=nnx.Rngs(0))) for p in (0, 5))
    assert 0.6 < np.std(coded.position[...]) < 1.4
    code = np.asarray(coded.position[...])
    one, two = (np.asarray(a(z, present, unsized(held), parts, 1)[1].weights) for a in (plain, coded))
    q = np.asarray(plain.query(z)).reshape(N, H, -1)
    slot = np.asarray(parts.slot)
    assert slot.max() == 5
    added = np.where(slot[:, None, None] < 5, code[np.minimum(slot, 4)], 0)
    by = np.exp(np.einsum("nhd,phd->nhp", q, added) / np.sqrt(D // H))
    expected = one * by / np.where(one.any(-1), (one * by).sum(-1), 1)[..., None]
    np.testing.assert_allclose(two, expected, rtol=1e-10, atol=1e-14)
    assert net(positions=3).symmetries == () and net().symmetries == ("nodes",)


def test_against_the_equations():
    """Two stacks of two rounds; modalities and nodes missing, a node that receives nothing, three graphs."""
    (x, mask), held, (fusion, p) = inputs(), graph(), equations.drawn(net(depth=2, stacks=2))
    fused = fusion(x, mask, held)
    given = np.asarray(x), np.asarray(mask), held, parts_of(held)
    out, tokens = equations.hourglass(p, *given, depth=2, stacks=2, heads=H)
    np.testing.assert_allclose(fused.out, out, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(fused.tokens, tokens, rtol=1e-9, atol=1e-11)
    assert np.std(out[: N - 1]) > 0.1
    assert shown(fused, "clusters").shape == (N, 6, H, 2)


def test_batches_of_graphs_do_not_leak():
    (x, mask), fusion = inputs(), net()
    both = fusion(x, mask, graph())
    for a, b in ((0, 6), (6, 12)):
        alone = fusion(x[a:b], mask[a:b], graph(sizes=np.array([b - a])))
        np.testing.assert_allclose(both.out[a:b], alone.out, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(both.tokens[a:b], alone.tokens, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(both.out[N - 1], 0)


def test_a_node_with_nothing_is_not_there():
    """In training, among others of its graph: they get what they would if it had no edge and no cluster."""
    (x, mask), held, rows = inputs(), graph(), np.delete(np.arange(N), 5)
    mask, parts = mask.at[5].set(False), parts_of(held)
    s, r = np.asarray(held.senders), np.asarray(held.receivers)
    apart = Graph.create(np.where(r == 5, 5, s), r, SIZES)  # a loop in the place of its only edge
    members, part = jnp.where(parts.members == 5, N, parts.members), parts.part.at[5].set(len(parts.size))
    clusters = {name: dataclasses.replace(parts, part=part, members=members) for name in held.derived}
    whole = net()(x.at[5].set(jnp.nan), mask, held, TRAINING)
    less = net()(x, mask, dataclasses.replace(apart, derived=clusters), TRAINING)
    np.testing.assert_allclose(whole.out[rows], less.out[rows], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(whole.tokens[rows], less.tokens[rows], rtol=1e-9, atol=1e-11)


def test_streams_of_different_nodes_are_joined_at_once():
    """A missing modality, NaN in its slot, is zeros where streams are joined and gets no y."""
    (x, mask), fusion = inputs(), net()
    fused = fusion(jnp.where(mask[..., None], x, jnp.nan), mask, graph())
    assert np.isfinite(fused.out).all()
    np.testing.assert_array_equal(fused.tokens[~np.asarray(mask)], 0)


@pytest.mark.parametrize(
    "options", [{"heads": 3}, {"norm": "group"}, {"depth": 0}, {"stacks": 0}, {"sr_ratio": 0}, {"positions": -1}]
)
def test_refusals(options):
    with pytest.raises(ValueError, match=f"fusion 'fe_lsd_hourglass': {next(iter(options))}="):
        FeLsdHourglass(M, D, rngs=nnx.Rngs(0), **{**SMALL, **options})
