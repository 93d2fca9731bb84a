"""The gated multimodal unit against the paper's equations in numpy, and its limits."""

import numpy as np
import pytest
from flax import nnx
from scipy.special import expit

from fusion_jax.fusion.gmu import GMU
from tests.helpers import assign, shown, to_float64

N, D = 5, 4


def setting(modalities):
    rng = np.random.default_rng(modalities)
    module = to_float64(GMU(modalities, D, rngs=nnx.Rngs(0)))
    return module, rng.normal(size=(N, modalities, D)), np.ones((N, modalities), bool)


def test_bimodal_unit():
    """h = z * tanh(W_1 x_1) + (1 - z) * tanh(W_2 x_2), z = sigmoid(W_z [x_1; x_2])."""
    module, x, mask = setting(2)
    z = expit(np.concatenate([x[:, 0], x[:, 1]], -1) @ module.gate.kernel[...])
    h1, h2 = (np.tanh(x[:, m] @ np.asarray(module.kernel[...])[m]) for m in range(2))
    fused = module(x, mask)
    np.testing.assert_allclose(fused.out, z * h1 + (1 - z) * h2, rtol=1e-12)
    np.testing.assert_allclose(shown(fused, "gates"), np.stack([z, 1 - z], -1), rtol=1e-12)


@pytest.mark.parametrize("modalities", [1, 3])
def test_unit_for_many(modalities):
    """h = sum_m sigmoid(W_zm [x_1; ...; x_M]) * tanh(W_m x_m), gates independent of each other."""
    module, x, mask = setting(modalities)
    gate = np.asarray(module.gate.kernel[...])
    want = 0
    for m in range(modalities):
        z = expit(x.reshape(N, -1) @ gate[:, m * D : (m + 1) * D])
        want = want + z * np.tanh(x[:, m] @ np.asarray(module.kernel[...])[m])
    np.testing.assert_allclose(module(x, mask).out, want, rtol=1e-12)


def test_missing_modality_leaves_the_gate():
    module, x, mask = setting(2)
    mask[0, 0] = mask[1, 1] = False
    mask[2] = False
    fused = module(x, mask)
    kernel = np.asarray(module.kernel[...])
    np.testing.assert_allclose(fused.out[0], np.tanh(x[0, 1] @ kernel[1]), rtol=1e-12)
    np.testing.assert_allclose(fused.out[1], np.tanh(x[1, 0] @ kernel[0]), rtol=1e-12)
    np.testing.assert_array_equal(fused.out[2], 0)
    module, x, mask = setting(3)
    mask[0, 1] = False
    fused = module(x, mask)
    np.testing.assert_array_equal(shown(fused, "gates").swapaxes(1, 2)[~mask], 0)
    assert (shown(fused, "gates").swapaxes(1, 2)[mask] > 0).all()


def test_zero_gate_halves_every_modality():
    for modalities in (2, 3):
        module, x, mask = setting(modalities)
        assign(module, {"gate.kernel": np.zeros(module.gate.kernel.shape)}, partial=True)
        h = np.tanh(np.einsum("nmd,mde->nme", x, np.asarray(module.kernel[...])))
        np.testing.assert_allclose(module(x, mask).out, h.sum(1) / 2, rtol=1e-12)
