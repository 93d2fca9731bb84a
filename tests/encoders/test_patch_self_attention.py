"""Limits of the attention over patches."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.encoders.patch_self_attention import PatchSelfAttention

N, DIM = 5, 4
X = jnp.asarray(np.random.default_rng(0).normal(size=(N, 12)), jnp.float32)


def test_one_patch_is_the_value_map():
    module = PatchSelfAttention(12, DIM, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(module(X), module.value(X), rtol=1e-6)


def test_equal_patches_sum_up():
    """Equal patches share their weights evenly: P times the value of one."""
    module = PatchSelfAttention(12, DIM, patches=4, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(module(jnp.tile(X[:, :3], 4)), 4 * module.value(X[:, :3]), rtol=1e-5)


def test_the_order_of_patches_does_not_matter_and_logits_are_not_scaled():
    module = PatchSelfAttention(12, DIM, patches=4, rngs=nnx.Rngs(0))
    patches = X.reshape(N, 4, 3)
    np.testing.assert_allclose(module(patches[:, ::-1].reshape(N, -1)), module(X), rtol=1e-5)
    logits = np.einsum("npd,nld->npl", module.query(patches), module.key(patches))
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(module.attend(X)[1], weights, rtol=1e-5)


def test_features_must_be_whole_patches():
    with pytest.raises(ValueError, match="patch_self_attention.*12 features.*patches=5"):
        PatchSelfAttention(12, DIM, patches=5, rngs=nnx.Rngs(0))
