"""Multimodal adaptation gate: the length of the step, its limits, and who may be missing."""

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.mag import MAG
from tests.helpers import state, to_float64


def build(m=3, d=5, **options):
    model = to_float64(MAG(m, d, rngs=nnx.Rngs(0), **options))
    for layer in [*model.gates, *model.shifts]:  # biases away from 0, so that a leak through them would show
        layer.bias.set_value(layer.bias[...] + 0.3)
    return model


def inputs(n=6, m=3, d=5):
    return np.random.default_rng(0).normal(size=(n, m, d)), np.ones((n, m), bool)


def normed(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("beta", [1e-3, 0.2, 1.0])
def test_step_is_at_most_beta_lengths(beta):
    x, mask = inputs()
    model = build(beta=beta)
    shifted, scale = jax.vmap(model.shifted)(x, mask)
    step = np.linalg.norm(shifted - x[:, 0], axis=-1)
    assert (step <= beta * np.linalg.norm(x[:, 0], axis=-1) * (1 + 1e-12)).all()
    assert ((scale > 0) & (scale <= 1)).all() and step.max() > 0
    if beta == 1e-3:  # so small that every step is as long as it may be
        np.testing.assert_allclose(step, beta * np.linalg.norm(x[:, 0], axis=-1), rtol=1e-4)


def test_large_beta_takes_the_whole_step():
    x, mask = inputs()
    shifted, scale = jax.vmap(build(beta=1e6).shifted)(x, mask)
    np.testing.assert_array_equal(scale, np.ones(6))
    other, _ = jax.vmap(build(beta=1e7).shifted)(x, mask)
    np.testing.assert_array_equal(shifted, other)


def test_without_the_others_it_is_layer_norm():
    """beta = 0, no other modality in the node, or none at all: out = LN(x_0)."""
    x, mask = inputs()
    expected = normed(x[:, 0])
    np.testing.assert_allclose(build(beta=0.0)(x, mask).out, expected, rtol=1e-12)
    alone = np.tile([True, False, False], (6, 1))
    np.testing.assert_allclose(build()(x, alone).out, expected, rtol=1e-12)
    np.testing.assert_allclose(build(m=1)(x[:, :1], mask[:, :1]).out, expected, rtol=1e-12)


def test_missing_other_equals_a_gate_without_it():
    x, _ = inputs()
    three, two = build(3), build(2)
    two.gates[0], two.shifts[0] = three.gates[1], three.shifts[1]
    got = three(x, np.tile([True, False, True], (6, 1))).out
    np.testing.assert_allclose(got, two(x[:, [0, 2]], np.ones((6, 2), bool)).out, rtol=1e-12)


def test_missing_main_keeps_the_others():
    """Without the main modality the whole shift is kept, though its length limit would be 0."""
    x, _ = inputs()
    mask = np.tile([False, True, True], (6, 1))
    fused = build()(x, mask)
    np.testing.assert_array_equal(state(fused, "step"), np.ones((6, 1, 1)))
    moved = build()(x + 0.5, mask)
    assert np.abs(fused.out - moved.out).max() > 1e-2
    np.testing.assert_array_equal(fused.tokens[:, 0], np.zeros((6, 5)))


def test_main_is_an_option():
    """Moving the main modality to another place changes nothing but the place."""
    x, mask = inputs()
    order = [1, 2, 0]  # the main one last, the others in the same order
    last = build(main=2)(x[:, order], mask)
    first = build()(x, mask)
    np.testing.assert_allclose(last.out, first.out, rtol=1e-12)
    np.testing.assert_allclose(last.tokens, first.tokens[:, order], rtol=1e-12)
    with pytest.raises(ValueError, match="mag.*main=3"):
        MAG(3, 4, main=3, rngs=nnx.Rngs(0))
