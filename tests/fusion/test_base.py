"""The lift from one node to all."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.records import Fused, Head, Info

X = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
MASK = np.array([[1, 1], [0, 0], [0, 1], [0, 0], [1, 0]], bool)


class Each(Fusion):
    """Every node has a loss, and a head with a weight of its own."""

    info = Info("x")

    def node(self, x, mask, context):
        size = (x**2).sum() + 1
        return Fused(x.sum(0), losses={"size": size}, heads=(Head("all", x.sum(0), size),))


@pytest.mark.parametrize("rows", [5, 4])
def test_a_loss_of_nodes_is_the_mean_over_those_that_have_something(rows):
    fused = Each(2, 3, rngs=nnx.Rngs(0))(jnp.asarray(X[-rows:]), jnp.asarray(MASK[-rows:]))
    there = MASK[-rows:].any(1)
    wanted = (np.where(MASK[-rows:, :, None], X[-rows:], 0) ** 2).sum((1, 2))[there].mean() + 1
    np.testing.assert_allclose(fused.losses["size"], wanted, rtol=1e-6)
    np.testing.assert_allclose(fused.heads[0].weight, wanted, rtol=1e-6)
    assert fused.heads[0].values.shape == (rows, 3)


def test_where_nobody_has_anything_there_is_no_loss():
    fused = Each(2, 3, rngs=nnx.Rngs(0))(jnp.asarray(X), jnp.zeros((5, 2), bool))
    assert fused.losses["size"] == 0
