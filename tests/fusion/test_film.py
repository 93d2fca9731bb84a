"""FiLM: what modulates, what is modulated, and whom the batch statistics count."""

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.film import Film
from fusion_jax.records import Context
from tests.helpers import state, to_float64

N, M, D = 6, 3, 4


def build(m=M, **options):
    return to_float64(Film(m, D, blocks=2, rngs=nnx.Rngs(0), **options))


def inputs(m=M):
    return np.random.default_rng(1).normal(size=(N, m, D)), np.ones((N, m), bool)


def test_generator_of_zeros_leaves_the_anchor_alone():
    module = build()
    x, mask = inputs()
    other = x.copy()
    other[:, 1:] *= 2
    assert np.abs(module(other, mask).out - module(x, mask).out).max() > 1e-3
    module.decoder_linear.kernel.set_value(0 * module.decoder_linear.kernel[...])
    np.testing.assert_array_equal(module(other, mask).out, module(x, mask).out)
    np.testing.assert_array_equal(state(module(x, mask), "gamma"), 1.0)
    np.testing.assert_array_equal(state(module(x, mask), "beta"), 0.0)


def test_anchor_is_a_choice_of_order():
    x, mask = inputs(2)
    mask[0, 0] = mask[1, 1] = False
    first, second = build(2, anchor=0), build(2, anchor=1)
    np.testing.assert_array_equal(first(x, mask).out, second(x[:, ::-1], mask[:, ::-1]).out)


def test_without_others_the_learned_shift_modulates():
    module = build()
    module.decoder_linear.bias.set_value(0.3 * np.arange(2 * 2 * D, dtype=float))
    x, mask = inputs()
    mask[:, 1:] = False
    fused = module(x, mask)
    film = np.stack([state(fused, "gamma"), state(fused, "beta")], 2)
    expected = np.asarray(module.decoder_linear.bias[...]).reshape(2, 2, D) + np.array([1.0, 0.0])[:, None]
    np.testing.assert_allclose(film, np.broadcast_to(expected, film.shape), rtol=1e-14)


def test_rows_without_anchor_are_not_in_the_batch_statistics():
    x, mask = inputs()
    mask[4:, 0] = False
    whole, part = build(), build()
    out = whole(x, mask, context=Context(key=jax.random.key(0))).out
    np.testing.assert_allclose(out[:4], part(x[:4], mask[:4], context=Context(key=jax.random.key(0))).out, rtol=1e-12)
    for a, b in zip(whole.blocks, part.blocks, strict=True):
        np.testing.assert_allclose(a.bn1.mean[...], b.bn1.mean[...], rtol=1e-12)
        assert np.abs(a.bn1.mean[...]).max() > 0


def test_anchor_is_checked():
    with pytest.raises(ValueError, match="film.*anchor=3"):
        Film(M, D, anchor=3, rngs=nnx.Rngs(0))
