"""Multiplicative interactions: bilinearity, the diagonal forms as special cases, missing modalities."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.multiplicative_interaction import MultiplicativeInteraction
from tests.helpers import assign, to_float64

N, D = 5, 4


def build(m=2, form="matrix"):
    return to_float64(MultiplicativeInteraction(m, D, form=form, rngs=nnx.Rngs(0)))


def inputs(m=2):
    return np.random.default_rng(1).normal(size=(N, m, D)), np.ones((N, m), bool)


def test_mixed_difference_is_the_bilinear_term():
    module = build()
    x, mask = inputs()
    z, y = x[:, 0], x[:, 1]

    def f(z, y):
        return np.asarray(module(np.stack([z, y], 1), mask).out)

    zero = np.zeros_like(z)
    mixed = f(z, y) - f(z, zero) - f(zero, y) + f(zero, zero)
    np.testing.assert_allclose(mixed, np.einsum("ni,ijk,nj->nk", z, module.steps[0].W[...], y), rtol=1e-10)


def test_vector_and_scalar_are_diagonal_matrices():
    x, mask = inputs()
    rng = np.random.default_rng(2)
    scalar, vector, matrix = build(form="scalar"), build(form="vector"), build(form="matrix")
    w, u, v, b = rng.normal(size=D), rng.normal(size=D), rng.normal(size=1), rng.normal(size=1)
    assign(scalar, {"steps.0.W": w, "steps.0.U": u, "steps.0.V": v, "steps.0.b": b})
    row = np.ones((1, D))
    wide = {"steps.0.U": u[:, None] * row, "steps.0.b": b * row[0]}
    assign(vector, {"steps.0.W": w[:, None] * row, "steps.0.V": v * row[0], **wide})
    assign(matrix, {"steps.0.W": w[:, None, None] * np.eye(D), "steps.0.V": v * np.eye(D), **wide})
    for module in (vector, matrix):
        np.testing.assert_allclose(module(x, mask).out, scalar(x, mask).out, rtol=1e-12)


def test_missing_modalities_leave_linear_maps():
    module = build()
    step = module.steps[0]
    step.b.set_value(jnp.asarray(np.random.default_rng(3).normal(size=D)))
    x, mask = inputs()
    mask[0, 1] = mask[1, 0] = False
    mask[2] = False
    out = module(x, mask).out
    np.testing.assert_allclose(out[0], x[0, 0] @ step.U[...] + step.b[...])
    np.testing.assert_allclose(out[1], x[1, 1] @ step.V[...] + step.b[...])
    np.testing.assert_array_equal(out[2], step.b[...])


def test_one_modality_is_returned_and_forms_are_checked():
    x, mask = inputs(1)
    np.testing.assert_array_equal(build(1)(x, mask).out, x[:, 0])
    with pytest.raises(ValueError, match="multiplicative_interaction.*'full'"):
        MultiplicativeInteraction(2, D, form="full", rngs=nnx.Rngs(0))
