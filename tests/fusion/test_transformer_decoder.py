"""The card's checks of the decoder layer that the golden cases do not show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.transformer_decoder import TransformerDecoder
from fusion_jax.nn.attention import attend
from fusion_jax.nn.transformer import DecoderLayer, EncoderLayer
from fusion_jax.records import Context
from tests.helpers import shown, to_float64

N, M, D = 5, 4, 8


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    mask = rng.random((N, M)) < 0.6
    mask[0], mask[1] = False, True
    return jnp.asarray(rng.normal(size=(N, M, D))), jnp.asarray(mask)


def build(modalities=M, **options):
    return to_float64(TransformerDecoder(modalities, D, rngs=nnx.Rngs(0), **options))


def test_weights_sum_to_one_and_are_zero_where_masked(inputs):
    x, mask = inputs
    weights = shown(build(heads=2)(x, mask), "cross")
    assert weights.shape == (N, 2, M)
    anything = np.asarray(mask.any(1, keepdims=True), float)
    np.testing.assert_allclose(weights.sum(-1), np.repeat(anything, 2, 1), atol=1e-12)
    assert not np.asarray(weights)[np.broadcast_to(~np.asarray(mask)[:, None], weights.shape)].any()


def test_one_modality_leaves_the_query_path_unused(inputs):
    x, mask = inputs
    module, other = build(1), build(1)
    other.layer.multihead_attn.query.kernel[...] += 1.0
    a, b = module(x[:, :1], mask[:, :1]), other(x[:, :1], mask[:, :1])
    np.testing.assert_array_equal(a.out, b.out)
    assert (shown(a, "cross")[mask[:, 0]] == 1).all()
    with pytest.raises(AssertionError):  # with more keys the query path matters
        np.testing.assert_array_equal(build()(x, mask).out, _shift_query(build())(x, mask).out)


def _shift_query(module):
    module.layer.multihead_attn.query.kernel[...] *= 2.0
    return module


def test_zero_query_weights_give_the_mean(inputs):
    x, mask = inputs
    module = build(heads=2)
    module.layer.multihead_attn.query.kernel[...] *= 0
    count = np.maximum(np.asarray(mask).sum(1), 1)
    uniform = np.asarray(mask) / count[:, None]
    np.testing.assert_allclose(shown(module(x, mask), "cross"), np.repeat(uniform[:, None], 2, 1), atol=1e-12)


def test_modality_order_has_no_influence(inputs):
    x, mask = inputs
    module, order = build(), np.array([2, 0, 3, 1])
    np.testing.assert_allclose(module(x[:, order], mask[:, order]).out, module(x, mask).out, atol=1e-12)


def test_one_head_is_the_scaled_article_formula(inputs):
    x, _ = inputs
    a = build(heads=1).layer.multihead_attn
    target, memory = x[0], x[1]
    q, k, v = a.query(target), a.key(memory), a.value(memory)
    expected = a.out(jax.nn.softmax(q @ k.T / np.sqrt(D)) @ v)
    np.testing.assert_allclose(a(target, memory)[0], expected, atol=1e-12)
    scaled = attend(q[:, None], k[:, None], v[:, None])[0][:, 0]
    np.testing.assert_allclose(a.out(scaled), expected, atol=1e-12)


def test_causal_mask_hides_later_targets(inputs):
    x, _ = inputs
    layer = to_float64(DecoderLayer(D, 2, 12, rngs=nnx.Rngs(0)))
    causal = jnp.tril(jnp.ones((M, M), bool))
    changed = x[0].at[-1].add(1.0)
    a, b = (layer(t, x[1], causal)[0] for t in (x[0], changed))
    np.testing.assert_array_equal(a[:-1], b[:-1])
    assert not np.allclose(a[-1], b[-1])
    assert not np.allclose(layer(x[0], x[1])[0][0], layer(changed, x[1])[0][0])


def test_output_length_is_the_target_s(inputs):
    x, _ = inputs
    layer = to_float64(DecoderLayer(D, 2, 12, rngs=nnx.Rngs(0)))
    assert layer(x[0][:2], x[1])[0].shape == (2, D) and layer(x[1], x[0][:2])[0].shape == (M, D)


def test_all_masked_keeps_query_and_output_bias(inputs):
    x, mask = inputs
    layer = to_float64(DecoderLayer(D, 2, 12, rngs=nnx.Rngs(0)))
    layer.multihead_attn.out.bias[...] += 0.3
    steps = layer.steps(x[0], x[1], memory_mask=jnp.zeros(M, bool))
    np.testing.assert_array_equal(steps.cross_out, jnp.full((M, D), 0.3))
    np.testing.assert_allclose(steps.after_cross, layer.norm2(steps.after_self + 0.3), atol=1e-12)


def test_self_attention_on_one_query_is_linear_in_its_value(inputs):
    x, mask = inputs
    module = build(self_attention=True)
    query = jnp.where(mask[..., None], x, 0).sum(1) / jnp.maximum(mask.sum(1), 1)[:, None].astype(x.dtype)
    attention = module.layer.self_attn
    expected = module.layer.norm1(query + attention.out(attention.value(query)))
    np.testing.assert_allclose(module.layer.after_self(query[:, None])[:, 0], expected, atol=1e-12)


def test_dropout_only_with_a_key(inputs):
    x, mask = inputs
    module = build(rate=0.5)
    np.testing.assert_array_equal(module(x, mask).out, build(rate=0.0)(x, mask).out)
    assert not np.allclose(module(x, mask).out, module(x, mask, context=Context(key=jax.random.key(1))).out)


def test_encoder_layer_norm_first_differs_and_both_follow_their_formula(inputs):
    x, _ = inputs
    for first in (False, True):
        layer = to_float64(EncoderLayer(D, 2, 12, norm_first=first, rngs=nnx.Rngs(0)))
        layer.norm1.scale[...] *= 1.5
        t = x[0]

        def feed(u, layer=layer):
            return layer.linear2(jax.nn.relu(layer.linear1(u)))

        if first:
            s = t + layer.self_attn(layer.norm1(t))[0]
            expected = s + feed(layer.norm2(s))
        else:
            s = layer.norm1(t + layer.self_attn(t)[0])
            expected = layer.norm2(s + feed(s))
        np.testing.assert_allclose(layer(t), expected, atol=1e-12)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="transformer_decoder.*heads=3.*D=8"):
        build(heads=3)
