"""Who has something behind a graph layer: over several hops, and over edges of weight 0."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from tests.helpers import parameters, to_float64

N, D = 6, 3
PATH = Graph.create(np.arange(N - 1), np.arange(1, N), N)
FIRST = jnp.asarray(np.arange(N) == 0)  # it alone is present
X = jnp.asarray(np.random.default_rng(0).normal(size=(N, D)))


def test_what_one_hop_brings_the_next_passes_on():
    """Of a path whose first node is present, K hops of sgc reach the next K, as K layers of one hop do."""
    two = to_float64(zoo.get("layer", "sgc")(D, hops=2, rngs=nnx.Rngs(0)))
    one = to_float64(zoo.get("layer", "sgc")(D, hops=1, rngs=nnx.Rngs(0)))
    one.linear.kernel[...], one.linear.bias[...] = jnp.eye(D), jnp.zeros(D)
    np.testing.assert_array_equal(two.reached(FIRST, PATH), np.arange(N) < 3)
    np.testing.assert_array_equal(one.reached(FIRST, PATH), np.arange(N) < 2)
    once = one(X, PATH, FIRST)
    np.testing.assert_allclose(two(X, PATH, FIRST), two.linear(one(once, PATH, np.arange(N) < 2)), rtol=1e-12)
    assert np.abs(two(X, PATH, FIRST) - two.linear(jnp.zeros(D)))[2].max() > 0.01, "the second node heard and told"


@pytest.mark.parametrize("name", ["gcn", "sgc"])
def test_an_edge_of_weight_0_brings_nothing(name):
    graph = Graph.create(np.arange(N - 1), np.arange(1, N), N, {"weight": np.r_[0.0, np.ones(N - 2)]})
    layer = to_float64(zoo.get("layer", name)(D, rngs=nnx.Rngs(0)))
    np.testing.assert_array_equal(layer.reached(FIRST, graph), FIRST)
    nothing = [p for path, p in parameters(layer).items() if path.endswith("bias")][0][...]
    np.testing.assert_array_equal(layer(X, graph, FIRST)[1], nothing)
