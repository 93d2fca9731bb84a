"""Sum, mean and maximum over what is there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn.reductions import REDUCTIONS, masked_max, masked_sum
from tests.nn.reference import close, derivatives, normal

X = normal(4, 3) - 2
MASK = np.array([True, False, True, True])


@pytest.mark.parametrize(("name", "plain"), [("sum", np.sum), ("mean", np.mean), ("max", np.max)])
def test_only_what_is_there_counts(name, plain):
    f = REDUCTIONS[name]
    hidden = jnp.where(MASK[:, None], X, jnp.nan)
    close(f(hidden, jnp.asarray(MASK)), plain(np.asarray(X)[MASK], axis=0))
    close(f(X, jnp.ones(4, bool)), plain(np.asarray(X), axis=0))
    assert not np.asarray(f(X, jnp.zeros(4, bool))).any()
    derivatives(lambda x: f(x, jnp.asarray(MASK)), X)
    d = jax.grad(lambda x: f(x, jnp.asarray(MASK)).sum())(hidden)
    assert np.isfinite(d).all() and not d[1].any()


def test_they_are_all():
    assert set(REDUCTIONS) == {"sum", "mean", "max"}
    assert REDUCTIONS["sum"] is masked_sum and REDUCTIONS["max"] is masked_max
