"""Low-rank fusion: it is tensor fusion with a factored weight, and all of its factors are trained."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.lmf import LMF
from tests.helpers import to_float64


def build(m, d, seed=0, **options):
    return to_float64(LMF(m, d, rngs=nnx.Rngs(seed), **options))


@pytest.mark.parametrize("m, rank", [(1, 2), (2, 1), (3, 4)])
def test_equals_the_full_tensor_layer(m, rank):
    """vec(z_1 x ... x z_M) W + b with W = sum_r w_r F_1r x ... x F_Mr, built in full; missing: z = [1; 0]."""
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(5, m, 3)), rng.random((5, m)) < 0.6
    model = build(m, 3, rank=rank, out_dim=2)
    model.fusion_bias.set_value(jax.numpy.asarray(rng.normal(size=2)))
    factors, weights = np.asarray(model.factors[...]), np.asarray(model.fusion_weights[...])
    full = np.zeros((4**m, 2))
    for r in range(rank):
        for o in range(2):
            full[:, o] += weights[r] * functools.reduce(np.multiply.outer, factors[:, r, :, o]).reshape(-1)
    z = np.concatenate([np.ones((5, m, 1)), np.where(mask[..., None], x, 0)], axis=2)
    tensor = np.stack([functools.reduce(np.multiply.outer, row).reshape(-1) for row in z])
    expected = tensor @ full + np.asarray(model.fusion_bias[...])
    np.testing.assert_allclose(model(x, mask).out, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("m", [1, 3, 6])
def test_every_factor_is_trained(m):
    """Each factor of each modality and rank is an `nnx.Param`, and the loss moves it."""
    rng = np.random.default_rng(1)
    x, mask = rng.normal(size=(8, m, 4)), np.ones((8, m), bool)
    graphdef, params, rest = nnx.split(build(m, 4, rank=3), nnx.Param, ...)
    assert not jax.tree.leaves(rest), "everything the module stores is trained"

    def loss(p):
        return (nnx.merge(graphdef, p, rest)(x, mask).out ** 2).sum()

    grads = jax.grad(loss)(params)
    factors = np.asarray(grads["factors"][...])
    assert factors.shape == (m, 3, 5, 4)
    assert (np.abs(factors) > 0).all()
    assert (np.abs(grads["fusion_weights"][...]) > 0).all()
    assert (np.abs(grads["fusion_bias"][...]) > 0).all()


def test_size_does_not_grow_with_the_product():
    """M (D + 1) R out + R + out numbers, where the full layer has (D + 1)^M out."""
    params = nnx.state(LMF(6, 16, rank=4, rngs=nnx.Rngs(0)), nnx.Param)
    assert sum(p.size for p in jax.tree.leaves(params)) == 6 * 17 * 4 * 16 + 4 + 16


def test_scale_survives_many_modalities():
    """The product of six factors neither vanishes nor explodes at the start."""
    x = np.random.default_rng(2).normal(size=(256, 6, 16))
    out = np.asarray(build(6, 16)(x, np.ones((256, 6), bool)).out)
    assert 0.05 < out.std() < 20


@pytest.mark.parametrize("m", [2, 6])
def test_at_the_start_a_missing_modality_is_neutral(m):
    """With one modality alone the output is that of a layer of it alone: the absent ones are factors of 1."""
    x = np.random.default_rng(3).normal(size=(64, m, 16))
    model = build(m, 16)
    first = np.arange(m) == 0
    factors, weights = np.asarray(model.factors[...]), np.asarray(model.fusion_weights[...])
    alone = np.einsum("r,ni,rio->no", weights, np.c_[np.ones(64), x[:, 0]], factors[0])
    np.testing.assert_allclose(model(x, np.tile(first, (64, 1))).out, alone, rtol=1e-12)


def test_missing_modalities_do_not_make_the_output_small():
    """What tells nodes apart is as large with three of six modalities as the products of three modalities are."""
    x = np.random.default_rng(4).normal(size=(512, 6, 16))
    half = np.tile(np.arange(6) < 3, (512, 1))
    spread = [np.asarray(build(6, 16)(x, mask).out).std(0).mean() for mask in (half, np.ones((512, 6), bool))]
    assert 0.4 < spread[0] / spread[1] < 1
