"""Dual hourglass: clusters as keys, how rounds and stacks are put together, batches of graphs, what is missing."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.fe_lsd_hourglass import FeLsdHourglass
from fusion_jax.fusion.fe_lsd_hourglass.transformer_fusion import ClusterAttention, ClusterMean, cluster_sum
from fusion_jax.graphs import Graph
from fusion_jax.records import Context
from fusion_jax.structures.base import Structure, derive
from tests.fusion import fe_lsd_equations as equations
from tests.helpers import filled, run, shown

M, D, H = 2, 8, 2
SIZES = np.array([6, 6, 1])
N = int(SIZES.sum())
TRAINING = Context(key=jax.random.key(0))
SMALL = dict(depth=1, stacks=1, heads=H, sr_ratio=2)


def inputs(seed=0):
    """The node of the last graph has no modality."""
    mask = np.ones((N, M), bool)
    mask[1, 1] = mask[8, 0] = mask[N - 1] = False
    return np.random.default_rng(seed).normal(size=(N, M, D)), mask


def graph(size=4, sizes=SIZES):
    """Chains of nodes, cut into clusters."""
    ends = np.cumsum(sizes)
    s = np.concatenate([np.arange(b - n, b - 1) for n, b in zip(sizes, ends, strict=True)])
    made = Graph.create(s, s + 1, sizes, looped=False)
    return derive([made], (Structure("partition", {"size": size}),))[0]


def parts_of(held):
    (parts,) = held.derived.values()
    return parts


def unsized(held):
    return dataclasses.replace(held, largest=0)


def made(**options):
    return FeLsdHourglass(M, D, rngs=nnx.Rngs(0), **{**SMALL, **options})


def net():
    return equations.drawn(made)[0]


def attention_of(positions):
    return ClusterAttention(D, H, positions=positions, rngs=nnx.Rngs(0))


def linear(module, x):
    """In NumPy."""
    return x @ np.asarray(module.kernel[...]) + np.asarray(module.bias[...])


def test_sums_of_clusters():
    """Against the indicator of the clusters, with the gradient."""
    parts, x = parts_of(graph()), inputs()[0][:, 0]
    indicator = (np.arange(len(parts.size))[:, None] == np.asarray(parts.part)).astype(float)
    weight = np.random.default_rng(1).normal(size=(len(parts.size), D))

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def found(x):
        sums = cluster_sum(x, parts)
        return (weight * sums).sum(), sums

    (_, sums), slopes = found(x)
    np.testing.assert_allclose(sums, indicator @ x, rtol=1e-12)
    np.testing.assert_allclose(slopes, indicator.T @ weight, rtol=1e-12)


def test_means_count_who_is_there():
    parts, (x, mask) = parts_of(graph()), inputs()
    (mean, _), present, x = equations.drawn(lambda: ClusterMean(D, rngs=nnx.Rngs(0))), mask[:, 1], x[:, 1]
    found = run(mean, np.where(present[:, None], x, np.nan), present, parts)
    for p, row in enumerate(np.asarray(found)):
        held = np.flatnonzero((np.asarray(parts.part) == p) & present)
        expected = x[held].mean(0) if len(held) else np.zeros(D)
        np.testing.assert_allclose(row, linear(mean.linear, expected), rtol=1e-12)


def projected(attention, z, present, parts):
    r = attention.norm(attention.sr(z, present, parts))
    return attention.query(z), attention.key(r), attention.value(r)


def in_both_forms(attention, z, present, held, parts, size):
    return [attention(z, present, each, parts, size) for each in (held, unsized(held))]


@pytest.mark.parametrize("size", [1, 4])
def test_attention_to_the_clusters_of_ones_graph(size):
    """By hand, in blocks and in one matrix; a cluster in which nobody is present is no key."""
    held, (x, mask) = graph(size), inputs()
    parts, present, z = parts_of(held), mask.any(1), x[:, 0]
    present[6] = False
    attention, _ = equations.drawn(lambda: attention_of(0))
    q, k, v = (np.asarray(a).reshape(-1, H, D // H) for a in run(attention, z, present, parts, by=projected))
    of, members, valid = np.asarray(parts.graph), np.asarray(parts.members), np.asarray(parts.valid)
    ids = np.asarray(held.graph_ids)
    out = np.zeros((N, H, D // H))
    for i in range(N - 1):
        keys = [p for p in range(len(k)) if of[p] == ids[i] and present[members[p][valid[p]]].any()]
        for h in range(H):
            w = np.exp(k[keys, h] @ q[i, h] / np.sqrt(D // H))
            out[i, h] = w @ v[keys, h] / w.sum()
    expected = linear(attention.proj, out.reshape(N, D))
    forms = run(attention, z, present, held, parts, by=functools.partial(in_both_forms, size=size))
    for found, seen in forms:
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
        weights = np.asarray(seen.weights)
        np.testing.assert_allclose(weights.sum(-1)[: N - 1], 1, rtol=1e-12)
        assert not weights[N - 1].any()
    assert forms[0][1].weights.shape[-1] < forms[1][1].weights.shape[-1] == len(k)


def weights_of(attention, z, present, held, parts):
    return attention(z, present, held, parts, 1)[1].weights


def test_positions():
    """Added to the keys, by the number of a cluster within its graph; clusters past the last have none."""
    held, (x, mask) = graph(1), inputs()
    parts, present, z = parts_of(held), mask.any(1), x[:, 0]
    (coded, values), code = equations.drawn(lambda: attention_of(5)), jax.jit(lambda: attention_of(5).position[...])()
    assert 0.6 < np.std(code) < 1.4
    plain, code = filled(lambda: attention_of(0), lambda path, _: values[path]), values["position"]
    one, two = (np.asarray(run(a, z, present, unsized(held), parts, by=weights_of)) for a in (plain, coded))
    q = (z @ values["query.kernel"]).reshape(N, H, -1)
    slot = np.asarray(parts.slot)
    assert slot.max() == 5
    added = np.where(slot[:, None, None] < 5, code[np.minimum(slot, 4)], 0)
    by = np.exp(np.einsum("nhd,phd->nhp", q, added) / np.sqrt(D // H))
    expected = one * by / np.where(one.any(-1), (one * by).sum(-1), 1)[..., None]
    np.testing.assert_allclose(two, expected, rtol=1e-10, atol=1e-14)
    three, none = (nnx.eval_shape(functools.partial(made, **options)) for options in ({"positions": 3}, {}))
    assert three.symmetries == () and none.symmetries == ("nodes",)


def test_against_the_equations():
    """Two stacks of two rounds; modalities and nodes missing, a node that receives nothing, three graphs."""
    (x, mask), held, (fusion, p) = inputs(), graph(), equations.drawn(lambda: made(depth=2, stacks=2))
    fused = run(fusion, x, mask, held)
    out, tokens = equations.hourglass(p, x, mask, held, parts_of(held), depth=2, stacks=2, heads=H)
    np.testing.assert_allclose(fused.out, out, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(fused.tokens, tokens, rtol=1e-9, atol=1e-11)
    assert np.std(out[: N - 1]) > 0.1
    assert shown(fused, "clusters").shape == (N, 6, H, 2)


def test_batches_of_graphs_do_not_leak():
    (x, mask), fusion = inputs(), net()
    both = run(fusion, x, mask, graph())
    out, tokens = np.asarray(both.out), np.asarray(both.tokens)
    for a, b in ((0, 6), (6, 12)):
        alone = run(fusion, x[a:b], mask[a:b], graph(sizes=np.array([b - a])))
        np.testing.assert_allclose(out[a:b], alone.out, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(tokens[a:b], alone.tokens, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(out[N - 1], 0)


def test_a_node_with_nothing_is_not_there():
    """In training, among others of its graph: they get what they would if it had no edge and no cluster."""
    (x, mask), held, rows = inputs(), graph(), np.delete(np.arange(N), 5)
    mask[5], parts, nothing = False, parts_of(held), x.copy()
    nothing[5] = np.nan
    s, r = np.asarray(held.senders), np.asarray(held.receivers)
    apart = Graph.create(np.where(r == 5, 5, s), r, SIZES, looped=False)  # a loop in the place of its only edge
    members, part = np.array(parts.members), np.array(parts.part)
    members[members == 5], part[5] = N, len(parts.size)
    clusters = {name: dataclasses.replace(parts, part=part, members=members) for name in held.derived}
    whole = run(net(), nothing, mask, held, TRAINING)
    less = run(net(), x, mask, dataclasses.replace(apart, derived=clusters), TRAINING)
    for one, other in ((whole.out, less.out), (whole.tokens, less.tokens)):
        np.testing.assert_allclose(np.asarray(one)[rows], np.asarray(other)[rows], rtol=1e-9, atol=1e-11)


def test_streams_of_different_nodes_are_joined_at_once():
    """A missing modality, NaN in its slot, is zeros where streams are joined and gets no y."""
    (x, mask), fusion = inputs(), net()
    fused = run(fusion, np.where(mask[..., None], x, np.nan), mask, graph())
    assert np.isfinite(fused.out).all()
    np.testing.assert_array_equal(np.asarray(fused.tokens)[~mask], 0)


@pytest.mark.parametrize(
    "options", [{"heads": 3}, {"norm": "group"}, {"depth": 0}, {"stacks": 0}, {"sr_ratio": 0}, {"positions": -1}]
)
def test_refusals(options):
    with pytest.raises(ValueError, match=f"fusion 'fe_lsd_hourglass': {next(iter(options))}="):
        nnx.eval_shape(lambda: made(**options))
