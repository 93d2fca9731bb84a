"""VCDN: the outer product, its order, what a missing modality is, and where the gradient stops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.vcdn import VCDN
from tests.helpers import state, to_float64

N, M, C = 5, 3, 2


def build(m=M, c=C, **options):
    return to_float64(VCDN(m, c, rngs=nnx.Rngs(0), **options))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(N, M, C))


def test_the_network_reads_the_outer_product(x):
    fusion = build()
    fused = fusion(x, np.ones((N, M), bool))
    s = 1 / (1 + np.exp(-x))
    tensor = np.einsum("na,nb,nc->nabc", s[:, 0], s[:, 1], s[:, 2]).reshape(N, -1)
    np.testing.assert_allclose(state(fused, "product")[:, 0], tensor, rtol=1e-12)
    fc1, fc2 = fusion.model.fc1, fusion.model.fc2
    assert fc1.kernel.shape == (8, 8)
    h = tensor @ np.asarray(fc1.kernel[...]) - 0.3
    fc1.bias.set_value(jnp.full(8, -0.3))
    h = np.where(h > 0, h, 0.25 * h)
    assert (h < 0).any() and (h > 0).any()
    expected = h @ np.asarray(fc2.kernel[...])
    np.testing.assert_allclose(fusion(x, np.ones((N, M), bool)).out, expected, rtol=1e-12)


def test_a_missing_modality_is_undecided(x):
    fusion, mask = build(), np.ones((N, M), bool)
    mask[2, 1] = False
    zero = x.copy()
    zero[2, 1] = 0  # sigmoid 1/2
    np.testing.assert_array_equal(fusion(x, mask).out, fusion(zero, np.ones((N, M), bool)).out)


@pytest.mark.parametrize("joint", [False, True])
def test_the_gradient_reaches_the_modalities_only_if_joint(x, joint):
    fusion = build(joint=joint)
    grad = jax.grad(lambda x: (fusion(x, jnp.ones((N, M), bool)).out ** 2).sum())(jnp.asarray(x))
    assert bool(np.abs(grad).max() > 0) == joint


def test_too_large_a_product_is_narrowed_or_refused():
    fusion = build(3, 20)
    assert fusion.model.fc1.kernel.shape == (16**3, 256)
    assert build(3, 4).narrow is None
    with pytest.raises(ValueError, match="vcdn.*8000 entries"):
        build(3, 20, width=20)
    with pytest.raises(ValueError, match="vcdn.*width=5"):
        build(3, 4, width=5)
