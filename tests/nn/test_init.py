"""Initial values: their spread, shapes and dtypes; stacks of modules; the masked mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.nn.init import masked_mean, normal, ones, stack, zeros
from fusion_jax.nn.mlp import MLP
from tests.nn import reference


@pytest.mark.parametrize(("options", "std"), [({}, 0.02), ({"std": 1.5}, 1.5)])
def test_normal_has_the_spread_it_says(options, std):
    rngs = nnx.Rngs(0)
    one, two = normal(rngs, (100, 50), **options), normal(rngs, (100, 50), **options)
    assert one.shape == (100, 50) and one.dtype == jnp.float32 and isinstance(one, nnx.Param)
    one, two = np.asarray(one[...]), np.asarray(two[...])
    assert one.std() == pytest.approx(std, rel=0.03) and abs(one.mean()) < 4 * std / np.sqrt(5000)
    assert not np.array_equal(one, two)


def test_zeros_and_ones():
    for make, value in ((zeros, 0), (ones, 1)):
        made = make((2, 3))
        assert isinstance(made, nnx.Param) and made.dtype == jnp.float32
        np.testing.assert_array_equal(made[...], np.full((2, 3), value))


def test_a_stack_is_so_many_modules_drawn_one_by_one():
    stacked = stack(lambda rngs: MLP(3, 4, rngs=rngs), 3, nnx.Rngs(0))
    assert stacked.fc1.kernel.shape == (3, 3, 4) and stacked.fc2.bias.shape == (3, 3)
    kernels = np.asarray(stacked.fc1.kernel[...])
    assert len({k.tobytes() for k in kernels}) == 3
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 3)), jnp.float32)
    together = jax.vmap(lambda module, x: module(x))(stacked, x)
    for i in range(3):
        one = jax.tree.map(lambda a, i=i: a[i], stacked)
        np.testing.assert_allclose(together[i], one(x[i]), rtol=1e-6)


def test_the_mean_over_what_is_there():
    x, mask = reference.normal(2, 3, 4), jnp.asarray([[True, False, True], [False, False, False]])
    hidden = jnp.where(mask[..., None], x, jnp.nan)
    reference.close(masked_mean(hidden, mask), np.stack([np.asarray(x)[0, [0, 2]].mean(0), np.zeros(4)]))
    reference.close(masked_mean(x, jnp.ones((2, 3), bool)), np.asarray(x).mean(1))
    reference.close(masked_mean(x, jnp.ones((2, 3), bool), axis=0), np.asarray(x).mean(0))
    assert masked_mean(x.astype(jnp.float32), mask).dtype == jnp.float32
    reference.derivatives(lambda x: masked_mean(x, mask), x)
    d = jax.grad(lambda x: masked_mean(x, mask).sum())(hidden)
    assert np.isfinite(d).all() and not np.asarray(d)[~np.asarray(mask)].any()
