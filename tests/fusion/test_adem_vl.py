"""ADEM-VL beyond its golden numbers: dropping, the linear form without it, who is missing, two scales, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.adem_vl import ADEMVL, Adapter, neighbourhood
from fusion_jax.graphs import Graph
from fusion_jax.nn.norm import RMSNorm
from tests.helpers import built, filled, run, shown, small_graph

RNG = np.random.default_rng(3)


def normal(*shape):
    return RNG.normal(size=shape)


def drawn(make):
    return filled(make, lambda _, shape: 0.5 * RNG.normal(size=shape))


def adapter(ratio, tokens=10, dim=8):
    return drawn(lambda: Adapter(tokens, dim, drop_ratio=ratio, rngs=nnx.Rngs(0)))


def scores_and_kept(module, h, embedded, valid):
    scores = module.scores(h, embedded, valid)
    return scores, module.kept(scores, valid)


def silu(x):
    return x / (1 + np.exp(-x))


def test_without_dropping_it_is_linear_attention_summed_in_the_other_order():
    module, h, embedded = adapter(0.0), normal(3, 2, 8), normal(3, 10, 8)
    e1, e2 = (np.asarray(e[...]) for e in (module.adapter_emb1, module.adapter_emb2))
    state = np.einsum("bvd,bve->bde", silu(embedded + e1), embedded + e2)  # [B, D, D]
    expected = np.einsum("btd,bde->bte", silu(h), state)
    np.testing.assert_allclose(run(module, h, embedded, np.ones((3, 10), bool))[0], expected, rtol=1e-12)


@pytest.mark.parametrize(("ratio", "gone"), [(0.0, 0), (0.1, 1), (0.25, 2), (0.29, 2), (0.3, 3), (0.95, 9)])
def test_floor_of_ratio_times_tokens_are_dropped_the_smallest(ratio, gone):
    module, h, embedded = adapter(ratio), normal(3, 4, 8), normal(3, 10, 8)
    scores, kept = (np.asarray(a) for a in run(module, h, embedded, np.ones((3, 10), bool), by=scores_and_kept))
    assert (kept.sum(-1) == 10 - gone).all()
    lowest = np.where(kept, np.inf, scores).max(-1, initial=-np.inf, where=~kept)
    assert (lowest <= np.where(kept, scores, np.inf).min(-1)).all()


def test_what_a_higher_ratio_keeps_a_lower_one_keeps():
    h, embedded, valid = normal(2, 3, 8), normal(2, 10, 8), jnp.ones((2, 10), bool)
    before = None
    for ratio in (0.1, 0.3, 0.5, 0.8):
        make = functools.partial(Adapter, 10, 8, drop_ratio=ratio)
        module = filled(
            lambda make=make: make(rngs=nnx.Rngs(0)), lambda _, shape: np.random.default_rng(0).random(shape)
        )
        kept = np.asarray(run(module, h, embedded, valid, by=scores_and_kept)[1])
        assert before is None or (before | ~kept).all()
        before = kept


def test_equal_scores_are_all_kept():
    module, valid = adapter(0.5, tokens=4), jnp.ones((1, 4), bool)
    scores = jnp.array([[[1.0, 1.0, 1.0, 2.0]]])
    assert np.asarray(module.kept(scores, valid)).all()


def test_tokens_that_are_not_there_take_no_part_in_the_dropping():
    module, valid = adapter(0.5, tokens=6), jnp.array([[True, False, True, False, True, True], [False] * 6])
    scores = jnp.where(valid[:, None], jnp.asarray([[[5.0, -9.0, 1.0, -9.0, 3.0, 2.0]], [[0.0] * 6]]), 0)
    kept = np.asarray(module.kept(scores, valid))
    np.testing.assert_array_equal(kept[0, 0], [True, False, False, False, True, False])  # 2 of the 4 that are there
    assert not kept[1].any()


def test_at_the_start_tokens_that_are_zero_give_zero():
    """I = 0 where nothing is there, and E_2 starts at 0."""
    module = built(lambda: Adapter(10, 8, drop_ratio=0.1, rngs=nnx.Rngs(0)))
    out, _ = run(module, normal(2, 3, 8), np.zeros((2, 10, 8)), np.ones((2, 10), bool))
    np.testing.assert_array_equal(out, 0)


def test_rms_norm_is_its_equation():
    norm, x = drawn(lambda: RMSNorm(5)), normal(3, 5)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * np.asarray(norm.scale[...])
    np.testing.assert_allclose(run(norm, x), expected, rtol=1e-12)


def test_the_neighbourhood_is_the_mean_of_senders_that_have_the_modality():
    graph = Graph.create([0, 1, 2, 3], [3, 3, 3, 0], 5)
    mask = np.array([[1, 1], [1, 0], [0, 0], [0, 1], [1, 1]], bool)
    x = np.where(mask[..., None], RNG.normal(size=(5, 2, 4)), 0)
    find = jax.jit(neighbourhood)
    mean, heard = (np.asarray(a) for a in find(x, mask, graph))
    np.testing.assert_allclose(mean[3], [(x[0, 0] + x[1, 0]) / 2, x[0, 1]], rtol=1e-12)
    np.testing.assert_array_equal(heard, [[0, 1], [0, 0], [0, 0], [1, 1], [0, 0]])
    views = Graph.create([0, 1, 2, 3], [3, 3, 3, 0], 5, views=(graph, Graph.create([4], [1], 5)))
    mean, heard = (np.asarray(a) for a in find(x, mask, views))
    np.testing.assert_array_equal(heard[:, 1], [0, 1, 0, 0, 0])
    np.testing.assert_allclose(mean[1, 1], x[4, 1], rtol=1e-12)


def fusion(**options):
    return drawn(lambda: ADEMVL(3, 8, **options, rngs=nnx.Rngs(0)))


def test_a_layer_adds_the_tokens_beside_its_feed_forward():
    graph, mask = small_graph(7), RNG.random((7, 3)) < 0.7
    mask[0] = True
    x, module = np.where(mask[..., None], normal(7, 3, 8), 0), fusion(layers=1)

    def by_hand(module, x):
        around, heard = neighbourhood(x, jnp.asarray(mask), graph)
        valid = jnp.concatenate([jnp.asarray(mask), heard], 1)
        embedded = module.embed(jnp.concatenate([x, around], 1), valid)
        (layer,) = module.layers
        h = layer.attend(x.sum(1) / np.maximum(mask.sum(1), 1.0)[:, None], graph, jnp.asarray(mask.any(1)))
        g = layer.ffn_norm(h)
        z, _ = module.adapter(g[:, None], embedded, valid)
        return module.norm(h + layer.feed_forward(g) + module.alpha * z[:, 0]), valid

    expected, valid = (np.asarray(a) for a in run(module, x, by=by_hand))
    found = run(module, x, mask, graph)
    out, there = np.asarray(found.out), valid.any(1)
    np.testing.assert_allclose(out[there], expected[there], rtol=1e-12)
    weights = shown(found, "tokens 1")
    assert not weights[~valid].any() and (weights != 0).any()
    module.alpha = 0.0
    assert np.abs(np.asarray(run(module, x, mask, graph).out) - out).max() > 0


def test_who_has_nothing_hears_of_its_senders_and_no_more():
    graph = Graph.create([0, 1], [1, 2], 4)
    mask = np.array([[1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]], bool)
    module = fusion(layers=3)
    out = np.asarray(run(module, normal(4, 3, 8), mask, graph).out)
    np.testing.assert_array_equal(run(module, mask, graph, by=ADEMVL.reached), [True, True, False, False])
    np.testing.assert_array_equal(out.any(1), [True, True, False, False])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(heads=3), "heads=3 does not divide the width D=8"),
        (dict(layers=0), "layers=0"),
        (dict(drop_ratio=1.0), "drop_ratio=1.0"),
        (dict(drop_ratio=-0.1), "drop_ratio=-0.1"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=f"fusion 'adem_vl': .*{message}"):
        nnx.eval_shape(lambda: ADEMVL(3, 8, **options, rngs=nnx.Rngs(0)))
