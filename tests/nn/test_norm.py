"""Norms against NumPy, the running statistics included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.nn.norm import LayerNorm, MaskedBatchNorm, layer_norm
from tests.helpers import parameters, to_float64
from tests.nn.reference import close, derivatives, drawn, normal

X = 3 * normal(6, 4) + 2
MASK = np.array([True, True, False, True, False, True])


@pytest.mark.parametrize("epsilon", [1e-5, 0.3])
def test_layer_norm(epsilon):
    module, p = drawn(layer_norm(4, epsilon=epsilon, rngs=nnx.Rngs(0)))
    x = np.asarray(X)
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    close(module(X), normed * p["scale"] + p["bias"])
    derivatives(module, X)


def test_layer_norm_starts_plain_with_the_usual_epsilon_and_keeps_dtypes():
    plain = LayerNorm(4, rngs=nnx.Rngs(0))
    assert plain.epsilon == layer_norm(4, rngs=nnx.Rngs(0)).epsilon == 1e-5
    assert plain.scale[...].tolist() == [1] * 4 and plain.bias[...].tolist() == [0] * 4
    assert plain(X.astype(jnp.float32)).dtype == jnp.float32
    assert np.isfinite(plain(jnp.full((2, 4), 3.0, jnp.float32))).all()
    huge = (300 * X).astype(jnp.float16)  # whose squares no half can hold
    found = np.asarray(plain(huge.astype(jnp.float32)))
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(plain(huge), found, atol=3e-3)


def by_hand(p, x, mean, var, epsilon=1e-5):
    y = (np.asarray(x) - mean) / np.sqrt(var + epsilon)
    return y * p["scale"] + p["bias"] if "scale" in p else y


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("mask", [None, MASK])
def test_batch_norm_takes_the_rows_that_are_there(affine, mask):
    module, p = drawn(MaskedBatchNorm(4, affine=affine, momentum=0.2, rngs=nnx.Rngs(0)))
    there = np.ones(6, bool) if mask is None else mask
    x = jnp.where(there[:, None], X, jnp.nan)
    rows = np.asarray(X)[there]
    y = module(x, None if mask is None else jnp.asarray(mask), training=True)
    close(y[there], by_hand(p, rows, rows.mean(0), rows.var(0)))
    close(module.mean[...], 0.8 * p["mean"] + 0.2 * rows.mean(0))
    close(module.var[...], 0.8 * p["var"] + 0.2 * rows.var(0, ddof=1))


def test_batch_norm_in_evaluation_uses_and_keeps_the_running_statistics():
    module = MaskedBatchNorm(4, rngs=nnx.Rngs(0))
    assert set(parameters(module)) == {"scale", "bias", "mean", "var"} and module.momentum == 0.1
    assert isinstance(module.mean, nnx.BatchStat) and module.scale[...].tolist() == [1] * 4
    close(to_float64(module)(X), np.asarray(X) / np.sqrt(1 + 1e-5))
    module, p = drawn(module)
    module.var.set_value(jnp.asarray([0.5, 1.0, 2.0, 3.0]))
    close(module(X, jnp.asarray(MASK)), by_hand(p, X, p["mean"], np.array([0.5, 1, 2, 3])))
    close(module.mean[...], p["mean"])


def test_batch_norm_of_more_axes_of_one_row_and_of_none():
    module, p = drawn(MaskedBatchNorm(4, rngs=nnx.Rngs(0)))
    x = X.reshape(2, 3, 4)
    close(module(x, training=True).reshape(6, 4), by_hand(p, X, np.asarray(X).mean(0), np.asarray(X).var(0)))
    before = np.asarray(module.var[...])
    only = module(X, jnp.arange(6) == 2, training=True)
    close(only[2], p["bias"])
    close(module.var[...], 0.9 * before)
    assert np.isfinite(module(X, jnp.zeros(6, bool), training=True)).all()


def test_derivatives_of_batch_norm_and_none_of_masked_rows():
    graphdef, state = nnx.split(drawn(MaskedBatchNorm(4, rngs=nnx.Rngs(0)))[0])

    def run(x):
        y = nnx.merge(graphdef, state, copy=True)(x, jnp.asarray(MASK), training=True)
        return jnp.where(MASK[:, None], y, 0)

    derivatives(run, X)
    d = np.asarray(jax.grad(lambda x: (run(x) ** 3).sum())(X))
    assert not d[~MASK].any() and d[MASK].any()


def test_a_step_without_a_present_row_leaves_the_running_statistics():
    norm = MaskedBatchNorm(2, rngs=nnx.Rngs(0))
    y = norm(jnp.ones((3, 2), jnp.float32), jnp.zeros(3, bool), training=True)
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(norm.mean[...], 0)
    np.testing.assert_array_equal(norm.var[...], 1)
