"""What a traced function reads: through inner programs, loops and branches, and what it only looks at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.checking.traced import reads

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
