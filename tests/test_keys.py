"""Keys from a key: the bits of `jax.random`, whatever is asked for and however."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax import keys


def bits(found):
    return np.asarray(jax.random.key_data(found))


@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1])
def test_split_has_the_bits_of_jax(seed):
    key = jax.random.key(seed)
    for n in (1, 2, 5, 130):
        expected = bits(jax.random.split(key, n))
        np.testing.assert_array_equal(bits(keys.split(key, n)), expected)
        np.testing.assert_array_equal(bits(jax.jit(keys.split, static_argnums=1)(key, n)), expected)


def test_fold_in_has_the_bits_of_jax():
    key = jax.random.key(3)
    for number in (0, 1, 5, 2**31, 2**32 - 1):
        np.testing.assert_array_equal(bits(keys.fold_in(key, number)), bits(jax.random.fold_in(key, np.uint32(number))))
    epoch = jnp.int32(41)
    np.testing.assert_array_equal(bits(jax.jit(keys.fold_in)(key, epoch)), bits(jax.random.fold_in(key, epoch)))


def test_keys_of_keys_and_of_many_at_a_time():
    key = jax.random.key(5)
    many = jax.random.split(key, 4)
    ours = jax.vmap(lambda one: keys.split(keys.fold_in(one, 2), 3))(many)
    np.testing.assert_array_equal(
        bits(ours), bits(jax.vmap(lambda one: jax.random.split(jax.random.fold_in(one, 2), 3))(many))
    )


@pytest.mark.parametrize("implementation", ["rbg", "unsafe_rbg"])
def test_keys_of_another_generator_are_its_own(implementation):
    key = jax.random.key(3, impl=implementation)
    assert jax.random.key_impl(keys.split(key, 2)) == implementation
    np.testing.assert_array_equal(bits(keys.split(key, 2)), bits(jax.random.split(key, 2)))
    np.testing.assert_array_equal(bits(keys.fold_in(key, 9)), bits(jax.random.fold_in(key, 9)))


def test_another_way_of_splitting_is_the_one_that_is_set():
    key = jax.random.key(3)
    with jax.threefry_partitionable(False):
        np.testing.assert_array_equal(bits(keys.split(key, 3)), bits(jax.random.split(key, 3)))
        other = bits(keys.split(key, 3))
    assert not np.array_equal(other, bits(keys.split(key, 3)))


def test_no_loop_is_in_the_program():
    text = jax.jit(lambda key: keys.split(keys.fold_in(key, 1), 2)).lower(jax.random.key(0)).as_text()
    assert "while" not in text
