"""Flickerformer's phase fusion: what the golden cases cannot show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.flickerformer import Flickerformer, correlation
from tests import helpers
from tests.helpers import shown

N, M, D = 6, 3, 8


def net(m=M, **options):
    return helpers.to_float64(Flickerformer(m, D, rngs=nnx.Rngs(0), **options))


def inputs(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(N, M, D)))


def test_equal_modalities_correlate_fully():
    f = jnp.fft.rfft(inputs()[:, 0])
    for how in ("cos", "abs"):
        np.testing.assert_allclose(correlation(f, f, how), 1, rtol=1e-6)
    opposite = correlation(f, -f, "cos")
    np.testing.assert_allclose(opposite, -1, rtol=1e-6)
    np.testing.assert_allclose(correlation(f, -f, "abs"), 1, rtol=1e-6)


def test_rotation_turns_phases_only():
    """Of a rotation by s along the features, the phase of bin k is 2 pi k s / D."""
    x = inputs()[:, 0]
    f, turned = jnp.fft.rfft(x), jnp.fft.rfft(jnp.roll(x, 3, -1))
    np.testing.assert_allclose(jnp.abs(f), jnp.abs(turned), rtol=1e-10)
    expected = np.cos(2 * np.pi * 3 * np.arange(D // 2 + 1) / D)
    np.testing.assert_allclose(correlation(turned, f, "cos"), np.broadcast_to(expected, f.shape), rtol=1e-6, atol=1e-6)


def test_open_gates_are_the_concatenation():
    fusion, x = net(), inputs()
    fusion.gate.third.kernel.set_value(jnp.zeros_like(fusion.gate.third.kernel[...]))  # all gates 1/2
    fused = fusion(x, jnp.ones((N, M), bool))
    np.testing.assert_allclose(fused.tokens, x * np.array([1, 0.5, 0.5])[:, None], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(fused.out, fusion.fusion(fused.tokens.reshape(N, -1)), rtol=1e-12)


def test_first_present_is_the_reference():
    fusion, x = net(), inputs()
    fused = fusion(x, jnp.ones((N, M), bool).at[0, 0].set(False))
    np.testing.assert_array_equal(fused.tokens[0, 1], x[0, 1])
    assert np.abs(fused.tokens[1, 1] - x[1, 1]).max() > 1e-2
    gates = shown(fused, "gates")
    assert (gates[0, :, 0] == 0).all()
    assert (gates[0, :, 1] == 1).all()
    c, _ = fusion.gates(jnp.fft.rfft(x[0]), jnp.array([False, True, True]))
    np.testing.assert_allclose(c[1], correlation(jnp.fft.rfft(x[0, 2]), jnp.fft.rfft(x[0, 1]), "cos"), rtol=1e-12)


def test_one_gate_for_all_phases_under_abs():
    """The released correlation says nothing of x: every node has the same gates."""
    gates = shown(net(correlation="abs")(inputs(), jnp.ones((N, M), bool)), "gates")
    np.testing.assert_allclose(gates, np.broadcast_to(gates[:1], gates.shape), rtol=1e-6)
    assert np.ptp(shown(net()(inputs(), jnp.ones((N, M), bool)), "gates"), 0).max() > 0.05


@pytest.mark.parametrize("how", ["cos", "abs"])
def test_gradients_at_no_signal(how):
    fusion = net(correlation=how)
    slope = jax.grad(lambda x: fusion(x, jnp.ones((N, M), bool)).out.sum())(jnp.zeros((N, M, D)))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("options", [{"correlation": "sin"}, {"expansion": 0}])
def test_refusals(options):
    with pytest.raises(ValueError, match="fusion 'flickerformer'"):
        net(**options)
