"""Multimodal transfer module: gates, their limits, and one modality alone as squeeze-and-excitation."""

import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.mmtm import MMTM
from tests.helpers import shown, to_float64


def inputs(n=5, m=3, d=4):
    return np.random.default_rng(0).normal(size=(n, m, d)), np.ones((n, m), bool)


def build(m=3, d=4, **options):
    return to_float64(MMTM(m, d, rngs=nnx.Rngs(0), **options))


@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_zero_excitation_scales_all_alike(gain):
    """Logits of 0 give gates gain / 2: with the paper's gain of 2 the modalities pass unchanged."""
    x, mask = inputs()
    model = build(gain=gain)
    model.excite.kernel.set_value(model.excite.kernel[...] * 0)
    fused = model(x, mask)
    np.testing.assert_allclose(fused.tokens, gain / 2 * x, rtol=1e-15)
    np.testing.assert_allclose(fused.out, gain / 2 * x.mean(1), rtol=1e-12)


def test_one_modality_is_squeeze_and_excitation():
    x, mask = inputs(m=1)
    model = build(m=1, ratio=2)
    z = np.maximum(x[:, 0] @ np.asarray(model.squeeze.kernel[...]), 0)
    gate = 1 / (1 + np.exp(-z @ np.asarray(model.excite.kernel[...])[0]))
    np.testing.assert_allclose(model(x, mask).out, gate * x[:, 0], rtol=1e-12)


def gates(fused):
    """[N, M, D]"""
    return shown(fused, "gates").swapaxes(1, 2)


def test_each_modality_sees_the_others():
    """The gate of every modality moves with every other, and its token with nothing but gate and itself."""
    x, mask = inputs()
    model = build()
    base = model(x, mask)
    for m in range(3):
        moved = x.copy()
        moved[:, m] += 1
        other = model(moved, mask)
        assert (np.abs(gates(other) - gates(base)).max(axis=(0, 2)) > 1e-4).all()
        np.testing.assert_allclose(other.tokens, gates(other) * moved, rtol=1e-15)
    assert ((gates(base) > 0) & (gates(base) < 1)).all()


def test_missing_modality():
    """It enters the squeeze as zeros, has no gate, and does not count in the mean."""
    x, mask = inputs()
    mask[:, 1] = False
    fused, zeroed = build()(x, mask), build()(np.where(mask[..., None], x, 0), np.ones_like(mask))
    np.testing.assert_array_equal(gates(fused)[:, 1], np.zeros((5, 4)))
    np.testing.assert_array_equal(gates(fused)[:, [0, 2]], gates(zeroed)[:, [0, 2]])
    np.testing.assert_allclose(fused.out, (fused.tokens[:, 0] + fused.tokens[:, 2]) / 2, rtol=1e-12)


@pytest.mark.parametrize("m, d, ratio, width", [(2, 6, 4, 6), (2, 5, 3, 6), (1, 1, 4, 1), (6, 16, 4, 48)])
def test_squeeze_width(m, d, ratio, width):
    """int(2 M D / ratio), at least 1."""
    assert build(m, d, ratio=ratio).squeeze.kernel.shape == (m * d, width)
