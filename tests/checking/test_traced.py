"""What a traced function reads: through inner programs, loops and branches, and what it only looks at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.checking.traced import in_words, reads

X, MASK = jnp.ones(3), jnp.array([True, False, True])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, mask: x.sum(), (True, False)),
        (lambda x, mask: jnp.where(mask, x, 0), (True, True)),
        (lambda x, mask: mask.sum(), (False, True)),
        (lambda x, mask: x * len(mask), (True, False)),
        (lambda x, mask: (jnp.where(mask, x, 0), x)[1], (True, False)),
        (lambda x, mask: jax.jit(lambda a, b: (a, b))(x, mask)[0], (True, False)),
        (lambda x, mask: jax.lax.scan(lambda c, m: (c + m, c), 0, mask)[0], (False, True)),
        (lambda x, mask: jax.lax.scan(lambda c, xs: (c + xs[0], xs[1]), 0.0, (x, mask))[0], (True, False)),
        (lambda x, mask: jax.lax.cond(mask[0], lambda: 1.0, lambda: 2.0), (False, True)),
        (lambda x, mask: jax.vmap(lambda a, b: jax.nn.relu(a))(x, mask), (True, False)),
        (lambda x, mask: jnp.zeros(3), (False, False)),
    ],
)
def test_an_argument_is_read_where_a_result_depends_on_it(function, expected):
    with jax.numpy_dtype_promotion("standard"):
        assert reads(function, X, MASK) == expected


def test_an_argument_of_several_arrays_is_read_where_one_of_them_is():
    assert reads(lambda tree, x: tree["b"] + 1, dict(a=X, b=X), np.ones(2)) == (True, False)


def words(function):
    return in_words(jax.jit(lambda x: function(x)).trace(X).jaxpr)


def drawn():
    return np.random.default_rng().random(3)  # another at every call


@pytest.mark.parametrize(
    ("function", "alike"),
    [
        (lambda x: jax.nn.relu(x) * 2, True),
        (lambda x: jax.lax.scan(lambda c, _: (c * np.arange(3.0), None), x, None, 2)[0], True),
        (lambda x: x * drawn()[0], False),
        (lambda x: x * drawn(), False),
        (lambda x: jax.jit(lambda x: x * drawn())(x), False),
        (lambda x: jax.lax.scan(lambda c, _: (c * drawn(), None), x, None, 2)[0], False),
        (lambda x: jax.lax.cond(x[0] > 0, lambda x: x * drawn(), lambda x: x, x), False),
        (lambda x: jax.vmap(jax.checkpoint(lambda x: x * drawn()))(x[None]), False),
        (lambda x: jax.pure_callback(lambda x: np.asarray(x) * drawn(), x, x), False),
        (lambda x: jax.random.normal(jax.random.key(drawn().view(np.int64)[0]), 3), False),
    ],
)
def test_programs_of_equal_words_hold_the_same_numbers(function, alike):
    assert (words(function) == words(function)) is alike
