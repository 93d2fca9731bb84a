"""The Transformer's layers, written out in NumPy, dropout masks included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.nn.dropout import keep_mask
from fusion_jax.nn.transformer import DecoderLayer, EncoderLayer
from tests.helpers import parameters
from tests.nn.reference import attention, close, derivatives, drawn, layer_norm, linear, normal, random_only_with_a_key

X, MEMORY = normal(3, 4), normal(5, 4, seed=1)
MASK, SEEN = np.array([True, False, True]), np.array([True, True, False, True, False])


def feed_forward(p, x):
    return linear(p, "linear2", np.maximum(linear(p, "linear1", x), 0))


@pytest.mark.parametrize("norm_first", [False, True])
def test_encoder_by_hand(norm_first):
    module, p = drawn(EncoderLayer(4, 2, 6, norm_first=norm_first, rngs=nnx.Rngs(0)))
    x = np.asarray(X)
    if norm_first:
        normed = layer_norm(p, "norm1", x)
        s = x + attention(p, "self_attn.", 2, normed, normed, mask=MASK)[0]
        expected = s + feed_forward(p, layer_norm(p, "norm2", s))
    else:
        s = layer_norm(p, "norm1", x + attention(p, "self_attn.", 2, x, x, mask=MASK)[0])
        expected = layer_norm(p, "norm2", s + feed_forward(p, s))
    close(module(X, jnp.asarray(MASK)), expected)
    close(module(X, jnp.asarray(MASK), key=jax.random.key(0)), expected)  # no dropout by default
    derivatives(lambda x: module(x, jnp.asarray(MASK)), X)


@pytest.mark.parametrize("own", [True, False])
def test_decoder_by_hand(own):
    module, p = drawn(DecoderLayer(4, 2, 6, self_attention=own, rngs=nnx.Rngs(0)))
    assert any(name.startswith("self_attn") for name in p) == any(name.startswith("norm1") for name in p) == own
    s = np.asarray(X)
    if own:
        s = layer_norm(p, "norm1", s + attention(p, "self_attn.", 2, s, s, mask=MASK)[0])
    crossed, weights = attention(p, "multihead_attn.", 2, s, MEMORY, mask=SEEN)
    c = layer_norm(p, "norm2", s + crossed)
    y = layer_norm(p, "norm3", c + feed_forward(p, c))
    given = X, MEMORY, jnp.asarray(MASK), jnp.asarray(SEEN)
    for found, expected in zip(module.steps(*given), (s, crossed, weights, c, y), strict=True):
        close(found, expected)
    out, found = module(*given)
    close(out, y)
    close(found, weights)
    close(module(*given, key=jax.random.key(0))[0], y)  # no dropout by default
    derivatives(lambda t, m: module(t, m, *given[2:])[0], X, MEMORY)


def test_a_target_that_sees_no_key_keeps_itself_and_a_bias():
    module, p = drawn(DecoderLayer(4, 2, 6, self_attention=False, rngs=nnx.Rngs(0)))
    steps = module.steps(X, MEMORY, None, jnp.zeros(5, bool))
    close(steps.cross_out, np.broadcast_to(p["multihead_attn.out.bias"], (3, 4)))


def test_another_activation_and_the_initial_values():
    encoder, p = drawn(EncoderLayer(4, 2, 6, norm_first=True, activation=jnp.sin, rngs=nnx.Rngs(0)))
    x = layer_norm(p, "norm1", X)
    s = np.asarray(X) + attention(p, "self_attn.", 2, x, x)[0]
    close(encoder(X), s + linear(p, "linear2", np.sin(linear(p, "linear1", layer_norm(p, "norm2", s)))))
    for module in (EncoderLayer(40, 2, 60, rngs=nnx.Rngs(0)), DecoderLayer(40, 2, 60, rngs=nnx.Rngs(0))):
        for name, kernel in parameters(module).items():
            if name.endswith("kernel"):
                bound = np.sqrt(6 / sum(kernel.shape))  # Glorot and Bengio's
                assert 0.95 * bound < np.abs(kernel[...]).max() <= bound * (1 + 1e-6), name


def kept(key, x, rate):
    return np.where(keep_mask(key, rate, x.shape), x / (1 - rate), 0)


@pytest.mark.parametrize("norm_first", [False, True])
def test_every_dropout_of_the_encoder_has_a_key_of_its_own(norm_first):
    rate = 0.4
    module, p = drawn(EncoderLayer(4, 2, 6, norm_first=norm_first, rate=rate, rngs=nnx.Rngs(0)))
    random_only_with_a_key(lambda key: module(X, key=key), unbiased=False)
    first, second = jax.random.split(jax.random.key(0))
    (weights, after), (inside, behind) = jax.random.split(first), jax.random.split(second)
    x = layer_norm(p, "norm1", X) if norm_first else np.asarray(X)
    a = kept(after, np.asarray(module.self_attn(jnp.asarray(x), key=weights)[0]), rate)
    assert not np.allclose(module.self_attn(jnp.asarray(x), key=weights)[0], module.self_attn(jnp.asarray(x))[0])
    s = np.asarray(X) + a if norm_first else layer_norm(p, "norm1", x + a)
    hidden = kept(inside, np.maximum(linear(p, "linear1", layer_norm(p, "norm2", s) if norm_first else s), 0), rate)
    y = s + kept(behind, linear(p, "linear2", hidden), rate)
    close(module(X, key=jax.random.key(0)), y if norm_first else layer_norm(p, "norm2", y))


def test_every_dropout_of_the_decoder_has_a_key_of_its_own():
    rate = 0.4
    module, p = drawn(DecoderLayer(4, 2, 6, rate=rate, rngs=nnx.Rngs(0)))
    random_only_with_a_key(lambda key: module(X, MEMORY, key=key)[0], unbiased=False)
    first, weights, cross, last = jax.random.split(jax.random.key(0), 4)
    (own, after), (inside, behind) = jax.random.split(first), jax.random.split(last)
    s = layer_norm(p, "norm1", X + kept(after, np.asarray(module.self_attn(X, key=own)[0]), rate))
    crossed = np.asarray(module.multihead_attn(jnp.asarray(s), MEMORY, key=weights)[0])
    c = layer_norm(p, "norm2", s + kept(cross, crossed, rate))
    hidden = kept(inside, np.maximum(linear(p, "linear1", c), 0), rate)
    y = layer_norm(p, "norm3", c + kept(behind, linear(p, "linear2", hidden), rate))
    steps = module.steps(X, MEMORY, key=jax.random.key(0))
    for found, expected in ((steps.after_self, s), (steps.cross_out, crossed), (steps.after_cross, c), (steps.out, y)):
        close(found, expected)
    for part, key in ((module.multihead_attn, weights), (module.self_attn, own)):
        assert not np.allclose(part(X, MEMORY, key=key)[0], part(X, MEMORY)[0])
