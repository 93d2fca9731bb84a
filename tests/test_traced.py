"""Numbers as arguments of a program give what they give as constants in it, down to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn.dropout import dropout
from fusion_jax.records import Context
from fusion_jax.traced import Numbers, Rate, threshold_of


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.3, 0.35, 0.5, 0.6, 0.9])
def test_a_rate_that_is_told_drops_and_scales_as_one_that_is_compiled_in(rate):
    x, key = jax.random.normal(jax.random.key(0), (400,), jnp.float32), jax.random.key(1)
    w = jax.random.normal(jax.random.key(2), (20, 5), jnp.float32)

    def value_and_slope(x, w, key, rate):
        # a linear map follows, as in a model: the compiler would first multiply constants that stand side by side
        return jax.value_and_grad(lambda x: ((dropout(x, rate, key).reshape(20, 20) @ w) ** 2).sum())(x)

    constant = jax.jit(value_and_slope, static_argnums=3)(x, w, key, rate)
    told = jax.jit(value_and_slope)(x, w, key, Rate.of(rate))
    for a, b in zip(constant, told, strict=True):
        np.testing.assert_array_equal(a, b)
    assert 0 < (dropout(x, Rate.of(rate), key) == 0).mean() < 1


def test_a_rate_of_0_that_is_told_keeps_all():
    x, key = jnp.arange(1.0, 9.0), jax.random.key(1)
    np.testing.assert_array_equal(jax.jit(dropout)(x, Rate.of(0.0), key), x)
    assert dropout(x, Rate.of(0.5), None) is x


def test_the_threshold_is_a_share_of_all_words():
    assert [int(threshold_of(r)) for r in (0.0, 0.5, 0.25)] == [0, 2**31, 2**30]
    for rate in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=f"dropout rate {rate}, expected 0 <= rate < 1"):
            Rate.of(rate)


def test_the_model_is_told_and_no_mechanism():
    context = Context(key=jax.random.key(0), numbers=Numbers((jnp.float32(0.1),)))
    assert all(own.numbers is context.numbers for own in context.split(2))
    assert context.told(()).numbers is None and context.told(("labels",)).numbers is None


def test_what_is_not_told_is_no_part_of_the_program():
    told = Numbers((jnp.float32(0.1),), rate=Rate.of(0.2), l2=jnp.float32(0.1))
    without = Numbers((jnp.float32(0.1),))
    assert jax.tree.structure(told) != jax.tree.structure(without) and len(jax.tree.leaves(without)) == 1
