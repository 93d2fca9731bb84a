"""ST-Align: keys and blocks of modalities that are missing, niches, negatives, and the limits of its losses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.st_align import STAlign
from fusion_jax.fusion.st_align.blocks import ABFN, CrossAttention, Tokeniser, keys_of
from fusion_jax.fusion.st_align.contrast import draw, info_nce, rows_of, three_targets
from fusion_jax.graphs import Graph
from fusion_jax.records import EVALUATION, Context
from fusion_jax.structures.base import Structure, derive
from tests.helpers import assign, parameters, shown, small_graph, state, to_float64

N, M, D = 12, 3, 8
SMALL = dict(tokens=3, heads=2, head_dim=4, parts=3)


def net(modalities=M, **options):
    return to_float64(STAlign(modalities, D, **{**SMALL, **options}, rngs=nnx.Rngs(0)))


def graph_of(fusion, graph=None):
    return derive([small_graph(N, 30) if graph is None else graph], fusion.structures)[0]


def inputs(modalities=M, seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.random((N, modalities)) < 0.7
    mask[0], mask[1] = False, True
    return jnp.asarray(rng.normal(size=(N, modalities, D))), jnp.asarray(mask)


@pytest.fixture(scope="module")
def made():
    fusion, (x, mask) = net(), inputs()
    return fusion, x, mask, graph_of(fusion)


def test_attention_sees_the_others_that_are_there():
    """The row of a query sums to 1 over them; a modality that stands alone looks at itself."""
    mask = jnp.asarray([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]], bool)
    keys = np.asarray(keys_of(mask)).astype(int)
    assert keys[0].tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert keys[1].tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert keys[2].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]] and not keys[3].any()
    x, _ = inputs()
    fusion = net(alignment=0.0)
    weights = shown(fusion(x[:4], mask), "spot").reshape(4, M, 2, 3, M, 3)  # [N, M, H, T, M, T]
    np.testing.assert_array_equal(weights.sum(-1)[..., 0, :] > 0, keys[:, :, None] > 0)
    np.testing.assert_allclose(weights.sum((-1, -2))[..., 0], np.broadcast_to(keys.any(-1)[..., None], (4, M, 2)))


def test_a_missing_modality_is_a_block_of_zeros():
    """Before the norm: with its scale 0 beside it, what is left of the vector is the same as where g is 0."""
    fusion = to_float64(ABFN(2, D, 2, 4, rate=0.0, rngs=nnx.Rngs(0)))
    tokens = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 3, D)))
    one, features, _ = fusion(tokens, jnp.asarray([[True, False]]))
    block = fusion.ffn[0](features[:, 0])
    np.testing.assert_allclose(one, fusion.ln_fuse(jnp.concatenate([block, 0 * block], -1)), rtol=1e-12)
    alone = fusion.cross_attn[0](tokens[:, 0], tokens[:, 0])[0]
    np.testing.assert_allclose(features[:, 0], alone, rtol=1e-12)  # its keys are its own tokens


def test_nothing_of_the_query_is_added():
    """With equal keys and values the outputs of all queries are equal, whatever they are."""
    attend = to_float64(CrossAttention(D, 2, 4, rate=0.0, rngs=nnx.Rngs(0)))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, D)))
    out, _ = attend(x, jnp.broadcast_to(x[:1] + 1, (4, D)))
    np.testing.assert_allclose(out, np.broadcast_to(out[:1], out.shape), rtol=1e-10)


def test_kernel_one_leaves_two_tokens_behind_a_norm():
    tokenise = to_float64(Tokeniser(6, 1, rngs=nnx.Rngs(1)))
    tokens = np.asarray(tokenise(jnp.asarray(np.random.default_rng(0).normal(size=D))))
    normed = tokens - tokens.mean(-1, keepdims=True)
    normed /= normed.std(-1, keepdims=True)
    signs = np.sign(np.asarray(tokenise.weight[...]))
    assert len(np.unique(signs)) == 2
    np.testing.assert_allclose(normed * signs, np.broadcast_to(normed[0] * signs[0], normed.shape), rtol=1e-9)


def test_the_niche_of_an_isolated_node_is_the_node(made):
    """Others are the mean over themselves and their senders, of those that have the modality."""
    fusion, x, mask, _ = made
    graph = graph_of(fusion, Graph.create(np.array([1, 2, 3]), np.array([4, 4, 4]), N))
    found = fusion(x, mask.at[1:5].set(True).at[2, 0].set(False), graph)
    niche, x = state(found, "niche"), np.asarray(x)
    np.testing.assert_allclose(niche[5:], np.where(np.asarray(mask)[5:, :, None], x[5:], 0), rtol=1e-12)
    np.testing.assert_allclose(niche[4, 0], x[[1, 3, 4], 0].mean(0), rtol=1e-12)
    np.testing.assert_allclose(niche[4, 1], x[1:5, 1].mean(0), rtol=1e-12)


def test_out_sees_no_neighbour(made):
    fusion, x, mask, graph = made
    other = fusion(x.at[3:].multiply(-2.0), mask, graph)
    np.testing.assert_array_equal(fusion(x, mask, graph).out[:3], other.out[:3])
    assert not np.allclose(state(other, "niche")[:3], state(fusion(x, mask, graph), "niche")[:3])


def test_negatives_are_of_every_other_part_and_have_the_modality():
    structure = Structure("partition", {"parts": 4})
    two = Graph.create(np.array([0, 1, 20, 21]), np.array([1, 2, 21, 22]), np.array([17, 14]))
    (graph,) = derive([two], [structure])
    parts, ids = graph.structure(structure), np.asarray(graph.graph_ids)
    has = np.random.default_rng(0).random(31) < 0.6
    has[np.asarray(parts.part) == 2] = False  # a part with nobody to draw
    for key in (None, jax.random.key(0)):
        rows, found = (np.asarray(a) for a in draw(parts, 4, jnp.asarray(has), key))
        assert has[rows[found]].all()
        np.testing.assert_array_equal(np.broadcast_to(ids[:, None], rows.shape)[found], ids[rows[found]])
        for i in range(31):
            others = {int(p) for p in np.flatnonzero(np.asarray(parts.graph) == ids[i])} - {int(parts.part[i]), 2}
            assert {int(p) for p in np.asarray(parts.part)[rows[i][found[i]]]} == others
            assert found[i].sum() == len(others)


def test_negatives_are_drawn_uniformly():
    structure = Structure("partition", {"parts": 2})
    (graph,) = derive([Graph.create(np.array([0]), np.array([1]), 8)], [structure])
    parts, has = graph.structure(structure), jnp.ones(8, bool)
    keys = jax.random.split(jax.random.key(0), 4000)
    rows = np.asarray(jax.vmap(lambda key: draw(parts, 2, has, key).rows[0, 0])(keys))
    share = np.bincount(rows, minlength=8)[np.asarray(parts.part) != np.asarray(parts.part)[0]] / 4000
    np.testing.assert_allclose(share, np.full(4, 0.25), atol=0.03)


def test_rows_and_their_gradient():
    rng = np.random.default_rng(0)
    x, rows = jnp.asarray(rng.normal(size=(6, 3))), jnp.asarray(rng.integers(0, 6, (6, 4)))
    weight = jnp.asarray(rng.normal(size=(6, 4, 3)))
    np.testing.assert_array_equal(rows_of(x, rows), x[rows])
    ours, plain = (
        jax.grad(lambda x, f=f: (f(x) * weight).sum())(x) for f in (lambda x: rows_of(x, rows), lambda x: x[rows])
    )
    np.testing.assert_allclose(ours, plain, rtol=1e-12)


def test_the_contrast_without_negatives_is_zero():
    q, p, n = (
        jnp.asarray(np.random.default_rng(s).normal(size=shape)) for s, shape in enumerate([(4, 5), (4, 5), (4, 3, 5)])
    )
    np.testing.assert_array_equal(info_nce(q, p, n[:, :0], temperature=0.1), np.zeros(4))
    np.testing.assert_array_equal(info_nce(q, p, n, jnp.zeros((4, 3), bool), temperature=0.1), np.zeros(4))
    some = jnp.asarray([[True, False, True]] * 4)
    np.testing.assert_allclose(info_nce(q, p, n, some, temperature=0.1), info_nce(q, p, n[:, ::2], temperature=0.1))
    scaled = info_nce(2 * q, 0.3 * p, 7 * n, temperature=0.1)
    np.testing.assert_allclose(scaled, info_nce(q, p, n, temperature=0.1), rtol=1e-12)
    grads = jax.grad(lambda q: info_nce(q, p, n, temperature=0.1).sum())(jnp.zeros((4, 5)))
    assert np.isfinite(grads).all()


def test_one_part_has_no_negatives():
    fusion, (x, mask) = net(parts=1), inputs()
    assert all(value == 0 for value in fusion(x, mask, graph_of(fusion)).losses.values())


def test_shares_of_the_terms(made):
    fusion, x, mask, graph = made
    assert three_targets(1.0, 2.0, 4.0, alpha=0.3, beta=0.5) == pytest.approx(
        dict(spot_alignment=0.3, niche_alignment=1.0, cross_level_alignment=0.8)
    )
    losses = fusion(x, mask, graph).losses
    values = {k: v[...] for k, v in parameters(fusion).items()}
    doubled = assign(net(alignment=2.0), values)(x, mask, graph).losses
    for name, value in losses.items():
        np.testing.assert_allclose(doubled[name], 2 * value, rtol=1e-12)
    cross = net(alpha=0.0, beta=0.0)
    alone = assign(cross, {k: v for k, v in values.items() if k in parameters(cross)})(x, mask, graph).losses
    assert set(alone) == {"cross_level_alignment"}
    np.testing.assert_allclose(alone["cross_level_alignment"], losses["cross_level_alignment"] / 0.4, rtol=1e-12)


def test_the_losses_count_nodes_that_have_both(made):
    """A node that has one modality of a pair is in no term of it: spoilt, what it has moves no term between them."""
    fusion, (x, _) = net(modalities=2, alpha=1.0, beta=0.0), inputs(2)
    mask = jnp.ones((N, 2), bool).at[3, 1].set(False)
    graph = graph_of(fusion)
    one, other = (fusion(z, mask, graph).losses["spot_alignment"] for z in (x, x.at[3, 0].add(5.0)))
    assert one == other > 0


def test_gradients_reach_every_parameter_in_training():
    fusion, (x, mask) = net(niche_depth=1), inputs()
    graph, (graphdef, params) = graph_of(fusion), nnx.split(fusion)

    def loss(params):
        fused = nnx.merge(graphdef, params)(x, mask, graph, Context(key=jax.random.key(0)))
        return fused.out[:, 0].sum() + sum(fused.losses.values())

    grads = jax.grad(loss)(params)
    for path, g in nnx.to_flat_state(grads):
        assert np.isfinite(g[...]).all() and np.abs(g[...]).max() > 0, path


def test_niche_tokenisers_differ(made):
    _, x, mask, graph = made
    cases = (dict(), dict(niche_kernel=1), dict(niche_depth=2))
    outs, values = [], []
    for options in cases:
        fused = net(**options)(x, mask, graph)
        outs.append(fused.out)
        values.append(float(fused.losses["niche_alignment"]))
    assert len(set(values)) == 3
    np.testing.assert_array_equal(outs[0], outs[1])


def test_without_losses_it_needs_no_graph():
    fusion, (x, mask) = net(alignment=0.0), inputs()
    fused = fusion(x, mask)
    assert not fused.losses and not fused.states and not fusion.structures
    with pytest.raises(ValueError, match="needs a graph"):
        net()(x, mask, None, EVALUATION)


def test_one_modality_is_aligned_with_its_niche_only():
    fusion, (x, _) = net(modalities=1), inputs(1)
    losses = fusion(x, jnp.ones((N, 1), bool), graph_of(fusion)).losses
    assert losses["spot_alignment"] == losses["niche_alignment"] == 0 < losses["cross_level_alignment"]


def test_graphs_of_a_batch_do_not_meet():
    """Losses are means over nodes: those of two graphs together are those of each, at its share of the nodes."""
    fusion, (x, _) = net(modalities=2), inputs(2)
    one = small_graph(6, 12)
    s, r = np.asarray(one.senders), np.asarray(one.receivers)
    both = graph_of(fusion, Graph.create(np.append(s, s + 6), np.append(r, r + 6), np.array([6, 6])))
    each = graph_of(fusion, one)
    mask = jnp.ones((N, 2), bool)
    together = fusion(x, mask, both).losses
    alone = [fusion(x[part], mask[part], each).losses for part in (slice(6), slice(6, 12))]
    for name, value in together.items():
        np.testing.assert_allclose(value, (alone[0][name] + alone[1][name]) / 2, rtol=1e-10)


def test_rows_that_stand_for_no_node_are_drawn_by_nobody(made):
    fusion, x, mask, _ = made
    there = np.arange(N) < 9
    base = Graph.create(np.array([0, 1, 2, 3]), np.array([1, 2, 3, 4]), N)
    graph = graph_of(fusion, dataclasses.replace(base, present=jnp.asarray(there)))
    mask = mask & there[:, None]
    context = Context(key=jax.random.key(1))
    one, other = (fusion(z, mask, graph, context) for z in (x, x.at[9:].set(jnp.nan)))
    for name, value in one.losses.items():
        assert np.isfinite(value) and value == other.losses[name]


@pytest.mark.parametrize(
    "options",
    [
        dict(tokens=0),
        dict(heads=0),
        dict(parts=0),
        dict(alpha=0.8, beta=0.3),
        dict(temperature=0.0),
        dict(alignment=-1.0),
        dict(niche_kernel=3),
        dict(niche_depth=-1),
        dict(niche_depth=2, niche_kernel=1),
    ],
)
def test_refusals(options):
    with pytest.raises(ValueError, match=f"fusion 'st_align': .*{next(reversed(options))}"):
        STAlign(M, D, **{**SMALL, **options}, rngs=nnx.Rngs(0))
