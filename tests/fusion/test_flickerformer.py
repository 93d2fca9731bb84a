"""Flickerformer's phase fusion: what the golden cases cannot show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.flickerformer import Flickerformer, correlation
from tests.helpers import drawn, parameters, run, shown

N, M, D = 6, 3, 8


def made(**options):
    return Flickerformer(M, D, rngs=nnx.Rngs(0), **options)


def net(**options):
    return drawn(lambda: made(**options))


correlate = jax.jit(correlation, static_argnums=2)


def inputs(seed=0):
    return np.random.default_rng(seed).normal(size=(N, M, D))


def test_equal_modalities_correlate_fully():
    f = np.fft.rfft(inputs()[:, 0])
    for how in ("cos", "abs"):
        np.testing.assert_allclose(correlate(f, f, how), 1, rtol=1e-6)
    opposite = correlate(f, -f, "cos")
    np.testing.assert_allclose(opposite, -1, rtol=1e-6)
    np.testing.assert_allclose(correlate(f, -f, "abs"), 1, rtol=1e-6)


def test_rotation_turns_phases_only():
    """Of a rotation by s along the features, the phase of bin k is 2 pi k s / D."""
    x = inputs()[:, 0]
    f, turned = np.fft.rfft(x), np.fft.rfft(np.roll(x, 3, -1))
    np.testing.assert_allclose(np.abs(f), np.abs(turned), rtol=1e-10)
    expected = np.cos(2 * np.pi * 3 * np.arange(D // 2 + 1) / D)
    np.testing.assert_allclose(correlate(turned, f, "cos"), np.broadcast_to(expected, f.shape), rtol=1e-6, atol=1e-6)


def test_open_gates_are_the_concatenation():
    fusion, x = net(), inputs()
    for value in parameters(fusion.gate.third).values():
        value.set_value(jnp.asarray(np.zeros(value.shape)))  # all gates 1/2
    fused = run(fusion, x, np.ones((N, M), bool))
    np.testing.assert_allclose(fused.tokens, x * np.array([1, 0.5, 0.5])[:, None], rtol=1e-12, atol=1e-14)
    joined = run(fusion.fusion, np.asarray(fused.tokens).reshape(N, -1))
    np.testing.assert_allclose(fused.out, joined, rtol=1e-12)


def test_first_present_is_the_reference():
    fusion, x, mask = net(), inputs(), np.ones((N, M), bool)
    mask[0, 0] = False
    fused = run(fusion, x, mask)
    tokens, gates = np.asarray(fused.tokens), shown(fused, "gates")
    np.testing.assert_array_equal(tokens[0, 1], x[0, 1])
    assert np.abs(tokens[1, 1] - x[1, 1]).max() > 1e-2
    assert (gates[0, :, 0] == 0).all()
    assert (gates[0, :, 1] == 1).all()
    f = np.fft.rfft(x[0])
    c, _ = run(fusion, f, mask[0], by=Flickerformer.gates)
    np.testing.assert_allclose(c[1], correlate(f[2], f[1], "cos"), rtol=1e-12)


def test_one_gate_for_all_phases_under_abs():
    """The released correlation says nothing of x: every node has the same gates."""
    gates, other = (
        shown(run(net(correlation=how), inputs(), np.ones((N, M), bool)), "gates") for how in ("abs", "cos")
    )
    np.testing.assert_allclose(gates, np.broadcast_to(gates[:1], gates.shape), rtol=1e-6)
    assert np.ptp(other, 0).max() > 0.05


@pytest.mark.parametrize("how", ["cos", "abs"])
def test_gradients_at_no_signal(how):
    fusion = net(correlation=how)
    slope = jax.jit(jax.grad(lambda x: fusion(x, jnp.ones((N, M), bool)).out.sum()))(np.zeros((N, M, D)))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("options", [{"correlation": "sin"}, {"expansion": 0}])
def test_refusals(options):
    with pytest.raises(ValueError, match="fusion 'flickerformer'"):
        nnx.eval_shape(lambda: made(**options))
