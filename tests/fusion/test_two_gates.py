"""Two gates: the limits of the gates, and that no modality sees another."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.two_gates import TwoGates
from tests.helpers import assign, parameters, shown

X = np.random.default_rng(0).normal(size=(5, 3, 8)).astype(np.float32)
MASK = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]], bool)


def test_gates_of_zero_weights_are_a_quarter():
    """sigmoid(0)^2, so that out is a quarter of the masked mean."""
    module = TwoGates(3, 8, rngs=nnx.Rngs(0))
    assign(module, {name: np.zeros(v.shape, np.float32) for name, v in parameters(module).items()})
    fused = module(jnp.asarray(X), jnp.asarray(MASK))
    kept = np.where(MASK[..., None], X, 0)
    np.testing.assert_allclose(fused.tokens, kept / 4, rtol=1e-6)
    mean = kept.sum(1) / np.maximum(MASK.sum(1), 1)[:, None]
    np.testing.assert_allclose(fused.out, mean / 4, rtol=1e-6, atol=1e-7)


def test_gates_only_shrink_and_look_at_one_modality():
    module = TwoGates(3, 8, rngs=nnx.Rngs(0))
    fused = module(jnp.asarray(X), jnp.asarray(MASK))
    gates = shown(fused, "gates").swapaxes(1, 2)
    assert ((gates[MASK] > 0) & (gates[MASK] < 1)).all() and not gates[~MASK].any()
    assert (np.abs(fused.tokens) <= np.abs(X)).all()
    other = X.copy()
    other[:, 1] = 7
    changed = module(jnp.asarray(other), jnp.asarray(MASK))
    np.testing.assert_array_equal(changed.tokens[:, 0], fused.tokens[:, 0])
    order = [2, 0, 1]
    moved = module(jnp.asarray(X[:, order]), jnp.asarray(MASK[:, order]))
    np.testing.assert_allclose(moved.tokens, fused.tokens[:, order], rtol=1e-6)
    np.testing.assert_allclose(moved.out, fused.out, rtol=1e-5, atol=1e-6)
