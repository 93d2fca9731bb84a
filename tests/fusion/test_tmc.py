"""TMC: Dempster's rule as it is published, a missing modality, and that it is MEFN without its additions."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.mefn import MEFN
from fusion_jax.fusion.tmc import TMC

N, M, C = 6, 3, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, M, C))
MASK = RNG.random((N, M)) < 0.6
MASK[0], MASK[1], MASK[2] = False, True, [False, True, False]


def test_two_opinions_by_hand():
    fused = TMC(2, C, rngs=nnx.Rngs(0))(X[:, :2], np.ones((N, 2), bool))
    e = np.log1p(np.exp(X[:, :2]))
    strength = e.sum(-1, keepdims=True) + C
    (b, c), (u, w) = np.moveaxis(e / strength, 1, 0), np.moveaxis(C / strength, 1, 0)
    conflict = b.sum(1) * c.sum(1) - (b * c).sum(1)
    belief = (b * c + b * w + c * u) / (1 - conflict)[:, None]
    unsure = u * w / (1 - conflict)[:, None]
    np.testing.assert_allclose(fused.uncertainty, unsure[:, 0], rtol=1e-12)
    np.testing.assert_allclose(fused.evidence.fused, belief * C / unsure, rtol=1e-11)
    np.testing.assert_allclose(np.exp(fused.out), belief + unsure / C, rtol=1e-12)


def test_is_mefn_with_missing_modalities_left_out():
    fused, mefn = TMC(M, C, rngs=nnx.Rngs(0))(X, MASK), MEFN(M, C, rngs=nnx.Rngs(0))(X, MASK)
    np.testing.assert_array_equal(fused.out, mefn.out)
    np.testing.assert_array_equal(fused.evidence.fused, mefn.evidence.fused)
    alone = np.log1p(np.exp(X[2, 1]))
    np.testing.assert_allclose(fused.evidence.fused[2], alone, rtol=1e-12)
    assert fused.uncertainty[0] == 1


def test_cap():
    fused = TMC(1, C, cap=5.0, rngs=nnx.Rngs(0))(jnp.full((1, 1, C), 100.0), np.ones((1, 1), bool))
    np.testing.assert_allclose(fused.evidence.fused, 5, rtol=1e-12)
    with pytest.raises(ValueError, match="fusion 'tmc': cap=-1.0; expected a number above 0"):
        TMC(1, C, cap=-1.0, rngs=nnx.Rngs(0))
