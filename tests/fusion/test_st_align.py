"""ST-Align: keys and blocks of modalities that are missing, niches, negatives, and the limits of its losses."""

import dataclasses
import functools

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
from tests.helpers import filled, run, shown, state

N, M, D = 12, 2, 8
SMALL = dict(tokens=2, heads=2, head_dim=4, parts=3)
THERE = np.arange(N) < 10  # the last rows stand for no node
MASK = np.ones((N, M), bool) & THERE[:, None]
MASK[2, 0] = MASK[3, 1] = MASK[0] = False


def drawn(make):
    """Kernels and tokens drawn, norms and biases as they start."""
    rng = np.random.default_rng(0)

    def draw(path, shape):
        constant = dict(scale=1.0, bias=0.0).get(path.rpartition(".")[2])
        return 0.4 * rng.normal(size=shape) if constant is None else np.full(shape, constant)

    return filled(make, draw)


def net(**options):
    return drawn(lambda: STAlign(M, D, **{**SMALL, **options}, rngs=nnx.Rngs(0)))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def graph_of(fusion, senders, receivers):
    graph = dataclasses.replace(Graph.create(senders, receivers, N), present=jnp.asarray(THERE))
    return derive([graph], fusion.structures)[0]


@pytest.fixture(scope="module")
def made():
    """The fusion as a function of x, mask and graph, compiled once; x, and a graph of 20 edges."""
    fusion, rng = net(), np.random.default_rng(0)
    graphdef, params = nnx.split(fusion)
    call = jax.jit(lambda x, mask, graph: nnx.merge(graphdef, params, copy=True)(x, mask, graph))
    return call, fusion, rng.normal(size=(N, M, D)), graph_of(fusion, *rng.integers(0, 9, (2, 20)))


def blocks_of(fusion, tokens, there):
    """What the ABFN makes of two modalities; that of zeros in the place of the second; the first by itself."""
    fused, features, _ = fusion(tokens, there)
    block = fusion.ffn[0](features[:, 0])
    without = fusion.ln_fuse(jnp.concatenate([block, 0 * block], -1))
    return fused, without, features[:, 0], fusion.cross_attn[0](tokens[:, 0], tokens[:, 0])[0]


def test_a_missing_modality_is_a_block_of_zeros():
    """Before the norm: with its scale 0 beside it, what is left of the vector is the same as where g is 0."""
    fusion = drawn(lambda: ABFN(2, D, 2, 4, rate=0.0, rngs=nnx.Rngs(0)))
    one, without, first, alone = run(fusion, normal(1, 2, 3, D), np.array([[True, False]]), by=blocks_of)
    np.testing.assert_allclose(one, without, rtol=1e-12)
    np.testing.assert_allclose(first, alone, rtol=1e-12)  # its keys are its own tokens


def test_nothing_of_the_query_is_added():
    """With equal keys and values the outputs of all queries are equal, whatever they are."""
    attend, x = drawn(lambda: CrossAttention(D, 2, 4, rate=0.0, rngs=nnx.Rngs(0))), normal(5, D)
    out = np.asarray(run(attend, x, np.tile(x[:1] + 1, (4, 1)))[0])
    np.testing.assert_allclose(out, np.broadcast_to(out[:1], out.shape), rtol=1e-10)


def test_kernel_one_leaves_two_tokens_behind_a_norm():
    tokenise = drawn(lambda: Tokeniser(6, 1, rngs=nnx.Rngs(1)))
    tokens = np.asarray(run(tokenise, normal(D)))
    normed = tokens - tokens.mean(-1, keepdims=True)
    normed /= normed.std(-1, keepdims=True)
    signs = np.sign(np.asarray(tokenise.weight[...]))
    assert len(np.unique(signs)) == 2
    np.testing.assert_allclose(normed * signs, np.broadcast_to(normed[0] * signs[0], normed.shape), rtol=1e-9)


def test_negatives_are_of_every_other_part_and_have_the_modality():
    structure = Structure("partition", {"parts": 4})
    two = Graph.create(np.array([0, 1, 20, 21]), np.array([1, 2, 21, 22]), np.array([17, 14]))
    (graph,) = derive([two], [structure])
    parts, ids = graph.structure(structure), np.asarray(graph.graph_ids)
    has = np.random.default_rng(0).random(31) < 0.6
    has[np.asarray(parts.part) == 2] = False  # a part with nobody to draw
    both = jax.jit(lambda has: [draw(parts, 4, has, key) for key in (None, jax.random.key(0))])(has)
    for rows, found in ([np.asarray(a) for a in each] for each in both):
        assert has[rows[found]].all()
        np.testing.assert_array_equal(np.broadcast_to(ids[:, None], rows.shape)[found], ids[rows[found]])
        for i in range(31):
            others = {int(p) for p in np.flatnonzero(np.asarray(parts.graph) == ids[i])} - {int(parts.part[i]), 2}
            assert {int(p) for p in np.asarray(parts.part)[rows[i][found[i]]]} == others
            assert found[i].sum() == len(others)


def test_negatives_are_drawn_uniformly():
    structure = Structure("partition", {"parts": 2})
    (graph,) = derive([Graph.create(np.array([0]), np.array([1]), 8)], [structure])
    parts, has = graph.structure(structure), np.ones(8, bool)

    @jax.jit
    def drawn_for_the_first():
        keys = jax.random.split(jax.random.key(0), 4000)
        return jax.vmap(lambda key: draw(parts, 2, jnp.asarray(has), key).rows[0, 0])(keys)

    rows = np.asarray(drawn_for_the_first())
    share = np.bincount(rows, minlength=8)[np.asarray(parts.part) != np.asarray(parts.part)[0]] / 4000
    np.testing.assert_allclose(share, np.full(4, 0.25), atol=0.03)


def test_rows_and_their_gradient():
    rng = np.random.default_rng(0)
    x, rows, weight = rng.normal(size=(6, 3)), rng.integers(0, 6, (6, 4)), rng.normal(size=(6, 4, 3))

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def found(x):
        taken = rows_of(x, jnp.asarray(rows))
        return (taken * weight).sum(), taken

    (_, taken), ours = found(x)
    np.testing.assert_array_equal(taken, x[rows])
    expected = np.zeros_like(x)
    np.add.at(expected, rows, weight)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_the_contrast_without_negatives_is_zero():
    q, p, n = (normal(*shape, seed=s) for s, shape in enumerate([(4, 5), (4, 5), (4, 3, 5)]))
    nce = jax.jit(functools.partial(info_nce, temperature=0.1))
    np.testing.assert_array_equal(nce(q, p, n[:, :0]), np.zeros(4))
    np.testing.assert_array_equal(nce(q, p, n, np.zeros((4, 3), bool)), np.zeros(4))
    np.testing.assert_allclose(nce(q, p, n, np.array([[True, False, True]] * 4)), nce(q, p, n[:, ::2]))
    np.testing.assert_allclose(nce(2 * q, 0.3 * p, 7 * n), nce(q, p, n), rtol=1e-12)
    grads = jax.jit(jax.grad(lambda q: nce(q, p, n).sum()))(np.zeros((4, 5)))
    assert np.isfinite(grads).all()


def test_attention_sees_the_others_that_are_there(made):
    """The row of a query sums to 1 over them; a modality that stands alone looks at itself."""
    mask = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]], bool)
    keys = np.asarray(keys_of(jnp.asarray(mask))).astype(int)
    assert keys[0].tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert keys[1].tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert keys[2].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]] and not keys[3].any()
    call, _, x, graph = made
    keys = np.asarray(keys_of(jnp.asarray(MASK)))
    weights = shown(call(x, MASK, graph), "spot").reshape(N, M, 2, 2, M, 2)  # [N, M, H, T, M, T]
    np.testing.assert_array_equal(weights.sum(-1) > 0, np.broadcast_to(keys[:, :, None, None], weights.shape[:-1]))
    total = np.broadcast_to(keys.any(-1)[..., None, None].astype(float), weights.shape[:4])
    np.testing.assert_allclose(weights.sum((-1, -2)), total, rtol=1e-12)


def test_the_niche_of_an_isolated_node_is_the_node(made):
    """Others are the mean over themselves and their senders, of those that have the modality."""
    call, fusion, x, _ = made
    graph = graph_of(fusion, np.array([1, 2, 3] + [5] * 17), np.array([4, 4, 4] + [5] * 17))
    niche = state(call(x, MASK, graph), "niche")
    np.testing.assert_allclose(niche[5:], np.where(MASK[5:, :, None], x[5:], 0), rtol=1e-12)
    np.testing.assert_allclose(niche[4, 0], x[[1, 3, 4], 0].mean(0), rtol=1e-12)
    np.testing.assert_allclose(niche[4, 1], x[[1, 2, 4], 1].mean(0), rtol=1e-12)


def test_out_sees_no_neighbour(made):
    call, _, x, graph = made
    far = np.where(np.arange(N)[:, None, None] < 3, x, -2 * x)
    one, other = (call(z, MASK, graph) for z in (x, far))
    np.testing.assert_array_equal(np.asarray(one.out)[:3], np.asarray(other.out)[:3])
    assert not np.allclose(state(other, "niche")[:3], state(one, "niche")[:3])


def test_shares_of_the_terms():
    shares = three_targets(1.0, 2.0, 4.0, alpha=0.3, beta=0.5)
    assert shares == pytest.approx(dict(spot_alignment=0.3, niche_alignment=1.0, cross_level_alignment=0.8))
    assert three_targets(1.0, 2.0, 4.0, alpha=0, beta=0) == dict(cross_level_alignment=4.0)


def test_the_losses_count_nodes_that_have_both(made):
    """What the only modality of a node holds moves no term of pairs, but that of its niche with it."""
    call, _, x, graph = made
    far = x.copy()
    far[3, 0] += 5
    one, other = (call(z, MASK, graph).losses for z in (x, far))
    assert one["spot_alignment"] == other["spot_alignment"] > 0
    assert one["cross_level_alignment"] != other["cross_level_alignment"]


def test_negatives_have_the_modality_of_the_positive(made):
    """The first term by hand: the drawn rows are those that have modality 1, whoever has modality 0."""
    run, fusion, x, graph = made
    mask = jnp.asarray(MASK)
    flat = [tokenise(x[:, m]).reshape(N, -1) for m, tokenise in enumerate(fusion.tokenisers)]
    query, positive = (head(v) for head, v in zip(fusion.spot_heads, flat, strict=True))
    rows, found = draw(graph.structure(fusion.structures[0]), SMALL["parts"], mask[:, 1], None)
    each = np.asarray(info_nce(query, positive, positive[rows], found, temperature=0.1))
    value = run(x, mask, graph).losses["spot_alignment"]
    np.testing.assert_allclose(value, 0.3 * each[MASK.all(1)].mean(), rtol=1e-10)


def test_what_is_not_there_is_in_no_loss(made):
    call, _, x, graph = made
    one, other = (call(z, MASK, graph) for z in (x, np.where(MASK[..., None], x, np.nan)))
    for name, value in one.losses.items():
        assert 0 < value == other.losses[name]


def test_gradients_reach_every_parameter_in_training():
    fusion = net(niche_depth=1)
    graph = graph_of(fusion, np.array([1, 2, 3]), np.array([4, 4, 4]))
    x, (graphdef, params) = normal(N, M, D), nnx.split(fusion)

    def loss(params):
        fused = nnx.merge(graphdef, params)(x, jnp.asarray(MASK), graph, Context(key=jax.random.key(0)))
        return fused.out[:, 0].sum() + sum(fused.losses.values())

    for path, g in nnx.to_flat_state(jax.jit(jax.grad(loss))(params)):
        slope = np.asarray(g[...])
        assert np.isfinite(slope).all() and np.abs(slope).max() > 0, path


def test_without_losses_it_needs_no_graph():
    x, mask = jnp.zeros((N, M, D), jnp.float32), jnp.asarray(MASK)

    def without():
        return STAlign(M, D, **SMALL, alignment=0.0, rngs=nnx.Rngs(0))

    fused = nnx.eval_shape(lambda: without()(x, mask))
    assert not fused.losses and not fused.states and not nnx.eval_shape(without).structures
    with pytest.raises(ValueError, match="needs a graph"):
        nnx.eval_shape(lambda: STAlign(M, D, **SMALL, rngs=nnx.Rngs(0))(x, mask, None, EVALUATION))


def test_one_modality_is_aligned_with_its_niche_only():
    def build():
        return STAlign(1, D, **SMALL, rngs=nnx.Rngs(0))

    fusion = nnx.eval_shape(build)
    graph = graph_of(fusion, np.array([1]), np.array([2]))
    x, mask = jnp.zeros((N, 1, D), jnp.float32), jnp.asarray(MASK[:, :1])
    assert "cross_level_alignment" in nnx.eval_shape(lambda: build()(x, mask, graph).losses)
    assert not fusion.spot_heads and not fusion.niche_heads


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
        nnx.eval_shape(lambda: STAlign(M, D, **{**SMALL, **options}, rngs=nnx.Rngs(0)))
