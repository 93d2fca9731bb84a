"""MUTAN: the Tucker form it factors, missing modalities, many of them, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.mutan import Mutan
from tests.helpers import filled, run

N, D = 5, 4
RNG = np.random.default_rng(0)


def build(m, **options):
    rng = np.random.default_rng(1)  # the same at every call
    return filled(lambda: Mutan(m, D, rngs=nnx.Rngs(0), **options), lambda _, shape: 0.5 * rng.normal(size=shape))


def product(model, x, mask):
    return jax.vmap(model.net.product)(x, mask)


def test_is_a_tucker_form_with_slices_of_low_rank():
    """out = x_1 T x_2 with T = sum_r (V_1 W_1r) x (V_2 W_2r) W_o built in full, rank of a slice of the core <= R."""
    model, rank = build(2, rank=2), 2
    net = model.net
    (merge,) = net.merges
    for bias in (merge.bias, net.linears.bias, net.linear_out.bias):
        bias.set_value(jnp.asarray(np.zeros(bias.shape)))
    v = np.asarray(net.linears.kernel[...])
    w = np.asarray(merge.kernel[...])[:, 0]  # [2, D, R, D]
    core = np.einsum("irk,jrk->ijk", w[0], w[1])
    assert all(np.linalg.matrix_rank(core[:, :, k]) <= rank for k in range(D))
    full = np.einsum("ai,bj,ijk,ko->abo", v[0], v[1], core, np.asarray(net.linear_out.kernel[...]))
    x = RNG.normal(size=(N, 2, D))
    expected = np.einsum("na,nb,abo->no", x[:, 0], x[:, 1], full)
    np.testing.assert_allclose(run(model, x, np.ones((N, 2), bool)).out, expected, rtol=1e-11, atol=1e-13)


def test_a_missing_modality_is_no_factor():
    """What remains is the mechanism of the modalities that are there, with their parameters."""
    model = build(3)
    x = RNG.normal(size=(N, 3, D))
    found = run(model, x, np.tile([True, False, True], (N, 1))).out
    few = build(2)
    for name in ("kernel", "bias"):
        for one, all_ in ((few.net.linears, model.net.linears), (few.net.merges[0], model.net.merges[0])):
            getattr(one, name).set_value(jnp.asarray(np.asarray(getattr(all_, name)[...])[[0, 2]]))
    few.net.linear_out = model.net.linear_out
    np.testing.assert_allclose(found, run(few, x[:, [0, 2]], np.ones((N, 2), bool)).out, rtol=1e-12)


def test_without_a_modality_the_output_bias_remains():
    model = build(2)
    model.net.linear_out.bias.set_value(jnp.asarray(np.arange(4.0)))
    out = run(model, RNG.normal(size=(N, 2, D)), np.zeros((N, 2), bool)).out
    np.testing.assert_array_equal(out, np.tile(np.arange(4.0), (N, 1)))


def test_normalize():
    """z has length 1; its signs are those of the product."""
    x, mask = RNG.normal(size=(N, 2, D)), np.ones((N, 2), bool)
    plain, unit = (np.asarray(run(build(2, normalize=n), x, mask, by=product)) for n in (False, True))
    np.testing.assert_allclose((unit**2).sum(1), 1, rtol=1e-12)
    np.testing.assert_array_equal(np.sign(unit), np.sign(plain))
    np.testing.assert_allclose(unit**2 * np.abs(plain).sum(1, keepdims=True), np.abs(plain), rtol=1e-12)


@pytest.mark.parametrize("m", [1, 2, 6])
def test_scale_survives_many_modalities(m):
    x = RNG.normal(size=(256, m, 32)).astype(np.float32)
    call = jax.jit(lambda x, mask: Mutan(m, 32, rngs=nnx.Rngs(0))(x, mask).out)
    for mask in (np.ones((256, m), bool), RNG.random((256, m)) < 0.5):
        out = np.asarray(call(x, mask))
        assert 0.2 < out.std() < 10


@pytest.mark.parametrize("options", [dict(rank=0), dict(mm_dim=0)])
def test_refusals(options):
    with pytest.raises(ValueError, match="fusion 'mutan'"):
        nnx.eval_shape(lambda: Mutan(2, D, rngs=nnx.Rngs(0), **options))
