"""The Perceiver's blocks, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.nn.dropout import keep_mask
from fusion_jax.nn.perceiver import ACTIVATIONS, CrossAttention, SelfAttention, squared_relu
from tests.nn.reference import attention, close, derivatives, drawn, layer_norm, linear, normal, random_only_with_a_key

QUERY, INPUTS = normal(3, 4), normal(5, 6, seed=1)
MASK = np.array([True, False, True, True, False])


def feed_forward(p, x, f):
    return linear(p, "mlp.fc2", np.asarray(f(jnp.asarray(linear(p, "mlp.fc1", layer_norm(p, "norm_mlp", x))))))


@pytest.mark.parametrize("residual", [True, False])
def test_cross_attention_by_hand(residual):
    module, p = drawn(CrossAttention(4, 6, 2, widening=3, residual=residual, rngs=nnx.Rngs(0)))
    assert p["attention.query.kernel"].shape == (4, 6) and p["mlp.fc1.kernel"].shape == (4, 12)
    q, x = layer_norm(p, "norm_query", QUERY), layer_norm(p, "norm_input", INPUTS)
    a, weights = attention(p, "attention.", 2, q, x, mask=MASK)
    a = a + np.asarray(QUERY) if residual else a
    y, found = module(QUERY, INPUTS, jnp.asarray(MASK))
    close(y, a + feed_forward(p, a, jax.nn.gelu))
    close(found, weights)


def test_the_projected_width_is_the_inputs_unless_it_is_given_and_the_mlp_is_no_wider():
    made = CrossAttention(4, 6, qk_dim=8, rngs=nnx.Rngs(0))
    assert made.attention.query.kernel.shape == (4, 8) and made.attention.value.kernel.shape == (6, 8)
    assert made.mlp.fc1.kernel.shape == (4, 4) and made.residual
    made = CrossAttention(4, 6, rngs=nnx.Rngs(0))
    assert made.attention.key.kernel.shape == (6, 6) and made.attention.heads == 1
    assert SelfAttention(4, 2, rngs=nnx.Rngs(0)).mlp.fc1.kernel.shape == (4, 4)


def test_queries_are_broadcast_to_the_inputs():
    module, _ = drawn(CrossAttention(4, 6, rngs=nnx.Rngs(0)))
    many = normal(2, 5, 6, seed=2)
    y, weights = module(QUERY, many)
    assert weights.shape == (2, 1, 3, 5)
    for i in range(2):
        close(y[i], module(QUERY, many[i])[0])


def test_a_query_that_sees_nothing_reads_the_bias():
    module, p = drawn(CrossAttention(4, 6, residual=False, rngs=nnx.Rngs(0)))
    a = np.broadcast_to(p["attention.out.bias"], (3, 4))
    close(module(QUERY, INPUTS, jnp.zeros(5, bool))[0], a + feed_forward(p, a, jax.nn.gelu))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_self_attention_by_hand(name):
    module, p = drawn(SelfAttention(4, 2, widening=2, activation=ACTIVATIONS[name], rngs=nnx.Rngs(0)))
    normed = layer_norm(p, "norm", QUERY)
    s = np.asarray(QUERY) + attention(p, "attention.", 2, normed, normed)[0]
    close(module(QUERY), s + feed_forward(p, s, ACTIVATIONS[name]))
    close(module(QUERY, key=jax.random.key(0)), module(QUERY))


def test_dropout_stands_behind_both_steps_and_needs_a_key():
    module, p = drawn(SelfAttention(4, 1, rate=0.4, rngs=nnx.Rngs(0)))
    random_only_with_a_key(lambda key: module(QUERY, key=key), unbiased=False)
    x = layer_norm(p, "norm", QUERY)
    first, second = jax.random.split(jax.random.key(0))
    s = np.asarray(QUERY) + np.where(keep_mask(first, 0.4, (3, 4)), attention(p, "attention.", 1, x, x)[0] / 0.6, 0)
    close(
        module(QUERY, key=jax.random.key(0)),
        s + np.where(keep_mask(second, 0.4, (3, 4)), feed_forward(p, s, jax.nn.gelu) / 0.6, 0),
    )


def test_squared_relu_and_derivatives():
    close(squared_relu(jnp.asarray([-2.0, 0.0, 3.0])), np.array([0.0, 0, 9]))
    cross, _ = drawn(CrossAttention(4, 6, 2, rngs=nnx.Rngs(0)))
    own, _ = drawn(SelfAttention(4, 2, rngs=nnx.Rngs(0)))
    derivatives(lambda q, x: cross(q, x, jnp.asarray(MASK))[0], QUERY, INPUTS)
    derivatives(own, QUERY)
