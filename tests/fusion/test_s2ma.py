"""S2MA beyond its golden numbers: an explicit softmax over both affinities, missing modalities, M."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.s2ma import S2MA
from fusion_jax.graphs import Graph
from tests.helpers import parameters, to_float64

RNG = np.random.default_rng(11)
D = 6
ONE = Graph.create([0, 1, 2, 3], [1, 2, 0, 0], 5)


def drawn(module):
    module = to_float64(module)
    for path, variable in parameters(module).items():
        value = 0.5 * RNG.normal(size=variable.shape)
        variable.set_value(jnp.asarray(np.abs(value) + 0.5 if path.endswith("var") else value))
    return module


def test_self_mutual_attention_reads_its_own_values_by_both_affinities():
    module, n = drawn(S2MA(2, D, rngs=nnx.Rngs(0))), 5
    x, mask = jnp.asarray(RNG.normal(size=(n, 2, D))), jnp.ones((n, 2), bool).at[1, 1].set(False).at[2, 0].set(False)
    found = module(x, mask, ONE)
    h = [np.asarray(one(x[:, m], mask[:, m], False)) for m, one in enumerate(module.streams)]
    there = np.asarray(mask)
    f = [
        np.asarray(one.theta(h[m]) @ one.phi(h[m]).T) * np.outer(there[:, m], there[:, m])
        for m, one in enumerate(module.streams)
    ]
    one, seen = module.streams[0], there[:, 0]
    logits = float(module.alpha[0]) * f[1] + f[0]
    weights = np.exp(logits) * seen[None]
    weights = weights / weights.sum(1, keepdims=True)
    expected = np.asarray(one.W(weights @ np.asarray(one.g(h[0])))) + np.asarray(x[:, 0])
    np.testing.assert_allclose(np.asarray(found.tokens)[seen, 0], expected[seen], rtol=1e-9)
    with pytest.raises(ValueError, match="fusion 's2ma' is published for M in"):
        S2MA(3, D, rngs=nnx.Rngs(0))
