"""The two encoders of Flickerformer, and the pyramid of HFF-Net: what the golden cases cannot show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.encoders.flickerformer_affn import FlickerformerAFFN
from fusion_jax.encoders.flickerformer_wdam import FlickerformerWDAM
from fusion_jax.encoders.laplacian_pyramid import LaplacianPyramid
from fusion_jax.graphs import Graph
from fusion_jax.nn.gated_autocorrelation import Autocorrelation
from tests import helpers

N, IN, D = 7, 5, 8


def inputs(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def made(encoder, **options):
    return helpers.to_float64(encoder(IN, D, rngs=nnx.Rngs(0), **options))


def test_autocorrelation():
    """Without alpha and beta the identity; with them p and (alpha + beta) times its circular autocorrelation."""
    p, module = inputs(N, 3, 8), helpers.to_float64(Autocorrelation(3))
    own = jnp.stack([(p * jnp.roll(p, -s, -1)).sum(-1) for s in range(8)], -1)
    np.testing.assert_allclose(module(p), p + own, rtol=1e-10, atol=1e-12)
    module.alpha.set_value(jnp.zeros(()))
    module.beta.set_value(jnp.zeros(()))
    np.testing.assert_allclose(module(p), p, rtol=1e-12, atol=1e-14)


def test_smoothness_of_attention():
    """At temperature 0 the neighbours and the node itself weigh alike, and isolated nodes see themselves."""
    encoder, graph = made(FlickerformerWDAM, heads=2), helpers.small_graph(N)
    present = jnp.ones(N, bool).at[1].set(False)
    encoder.wdam.temperature.set_value(jnp.zeros(2))
    (seen,) = encoder.attention(inputs(N, IN), graph, present, None)
    senders, receivers = np.asarray(seen.senders), np.asarray(seen.receivers)
    has = np.asarray(present)[senders]
    count = np.bincount(receivers, has, minlength=N)[receivers]
    expected = np.where(has, 1 / np.maximum(count, 1), 0)
    np.testing.assert_allclose(seen.weights, np.repeat(expected[:, None], 2, 1), rtol=1e-12)


@pytest.mark.parametrize("encoder", [FlickerformerAFFN, FlickerformerWDAM, LaplacianPyramid])
def test_gradients_where_there_is_nothing(encoder):
    """At x = 0 with biases 0 the smooth band is 0: lengths have no derivative there."""
    module, graph = made(encoder), helpers.small_graph(N)
    slope = jax.grad(lambda x: module(x, graph).sum())(jnp.zeros((N, IN)))
    assert np.isfinite(slope).all()


def test_a_neighbourhood_of_zeros_does_not_drown_the_others():
    """Node 0 and its only sender have zeros: its query is 0 and has no slope, that of its sender is not 0."""
    encoder, graph = made(FlickerformerWDAM, heads=2), Graph.create([1, 2, 3, 4], [0, 1, 2, 3], 5)
    x = inputs(5, IN).at[:2].set(0)
    slope = jax.jit(jax.grad(lambda x: (encoder(x, graph) ** 2).sum()))(x)
    assert 0 < np.abs(slope[0]).max() < 1e6


def test_numbers_are_sane_at_the_start():
    x, graph = inputs(40, IN), helpers.small_graph(40, 160)
    for encoder in (FlickerformerAFFN, FlickerformerWDAM, LaplacianPyramid):
        y = helpers.to_float64(encoder(IN, 64, rngs=nnx.Rngs(0)))(x, graph)
        assert 0.1 < float(y.std()) < 20, encoder


def test_laplacian_pyramid_of_isolated_nodes():
    """An isolated node has a smooth band only."""
    encoder, x = made(LaplacianPyramid), inputs(N, IN)
    y = encoder(x, helpers.small_graph(N))
    kernel = encoder.out.kernel[...][:D]
    np.testing.assert_allclose(y[-1], encoder.project(x)[-1] @ kernel + encoder.out.bias[...], rtol=1e-10)


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        (FlickerformerAFFN, {"expansion": 0}),
        (FlickerformerWDAM, {"heads": 3}),
        (LaplacianPyramid, {"levels": 0}),
        (LaplacianPyramid, {"pull": -1.0}),
    ],
)
def test_refusals(encoder, options):
    with pytest.raises(ValueError, match="encoder '"):
        encoder(IN, D, rngs=nnx.Rngs(0), **options)
