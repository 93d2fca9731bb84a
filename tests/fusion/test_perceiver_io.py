"""The card's checks of Perceiver IO that the golden cases do not show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.perceiver_io import PerceiverIo
from fusion_jax.nn.perceiver import CrossAttention
from tests.helpers import parameters, to_float64

N, M, D = 4, 3, 8


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    mask = rng.random((N, M)) < 0.6
    mask[0], mask[1], mask[3] = False, True, False
    return jnp.asarray(rng.normal(size=(N, M, D))), jnp.asarray(mask)


def build(seed=0, **options):
    return to_float64(PerceiverIo(M, D, rngs=nnx.Rngs(seed), **options))


def run(module, x, mask):
    return jax.jit(lambda x, mask: module(x, mask))(x, mask)


def test_order_of_modalities_with_their_codes_has_no_influence(inputs):
    x, mask = inputs
    module, order = build(), np.array([2, 0, 1])
    expected = run(module, x, mask).out
    assert not np.allclose(run(module, x[:, order], mask[:, order]).out[1], expected[1])  # the codes stay behind
    module.codes[...] = module.codes[...][order]
    np.testing.assert_allclose(run(module, x[:, order], mask[:, order]).out, expected, atol=1e-12)


def test_without_codes_the_modalities_are_a_set(inputs):
    x, mask = inputs
    module, order = build(code_dim=0), np.array([2, 0, 1])
    moved = run(module, x[:, order], mask[:, order]).out
    np.testing.assert_allclose(moved, run(module, x, mask).out, atol=1e-12)


def test_nothing_present_is_latents_plus_output_bias(inputs):
    x, mask = inputs
    module = build()
    cross = module.encoder.cross
    cross.attention.out.bias[...] += 0.2
    z, weights = module.encoder.read(module.tokens(x), mask)
    a = module.encoder.latents[...] + 0.2
    np.testing.assert_allclose(z[0], a + cross.mlp(cross.norm_mlp(a)), atol=1e-12)
    np.testing.assert_array_equal(z[0], z[3])
    assert not np.asarray(weights[0]).any()
    np.testing.assert_allclose(weights[1].sum(-1), 1, atol=1e-12)


def test_repeats_share_their_weights(inputs):
    x, mask = inputs
    shapes = [{k: v.shape for k, v in parameters(build(blocks=b)).items()} for b in (1, 2)]
    assert shapes[0] == shapes[1]
    once, twice = build(blocks=1), build(blocks=2)  # one seed, one set of weights
    z, _ = once.encoder.read(once.tokens(x), mask)
    np.testing.assert_allclose(twice.encoder.process(z), once.encoder.process(once.encoder.process(z)), atol=1e-12)


def test_query_residual_adds_the_query(inputs):
    x, _ = inputs
    for residual in (False, True):
        block = to_float64(CrossAttention(D, D, residual=residual, rngs=nnx.Rngs(0)))
        for linear in (block.attention.out, block.mlp.fc2):  # nothing read, no MLP: only the residual is left
            linear.kernel[...] *= 0
        expected = x if residual else jnp.zeros_like(x)
        np.testing.assert_array_equal(block(x, x)[0], expected)


def test_node_query_lets_the_node_ask(inputs):
    x, mask = inputs
    module = build(node_query=True)
    module.from_node.kernel[...] *= 0
    module.from_node.bias[...] *= 0
    plain = build()
    plain.embed, plain.codes, plain.encoder, plain.decoder = (
        module.embed,
        module.codes,
        module.encoder,
        module.decoder,
    )
    np.testing.assert_allclose(run(module, x, mask).out, run(plain, x, mask).out, atol=1e-12)
    module.from_node.kernel[...] += jnp.eye(D)
    assert not np.allclose(run(module, x, mask).out[1], run(plain, x, mask).out[1])


def test_activations_differ_and_a_wrong_name_is_refused(inputs):
    x, mask = inputs
    gelu, squared = (run(build(activation=a), x, mask).out for a in ("gelu", "squared_relu"))
    assert not np.allclose(gelu, squared)
    with pytest.raises(ValueError, match="perceiver_io.*'swish'"):
        build(activation="swish")


@pytest.mark.parametrize("options", [dict(heads=3), dict(cross_heads=5), dict(decoder_heads=3)])
def test_heads_must_divide_their_width(options):
    with pytest.raises(ValueError, match="perceiver_io"):
        build(**options)
