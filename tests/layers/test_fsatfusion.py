"""FSATFusion as a graph layer: a step of the fusion's stack."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.fsatfusion import FSATFusion
from fusion_jax.nn.fsat import site_of
from fusion_jax.records import Context
from fusion_jax.structures.base import derive
from tests import helpers


def net(dim=8, out=None, **options):
    return helpers.to_float64(FSATFusion(dim, out, **{"heads": 2, **options}, rngs=nnx.Rngs(0)))


def path(layer):
    return derive([Graph.create(np.arange(5), np.arange(1, 6), 6)], layer.structures)[0]


def test_it_is_one_step_of_the_stack():
    layer, x = net(6, 8), jnp.asarray(np.random.default_rng(0).normal(size=(6, 6)))
    graph = path(layer)
    y, gates, weights = layer.stack(
        layer.project(x), site_of(graph, jnp.ones(6, bool), layer.settings, layer.structures)
    )
    np.testing.assert_array_equal(layer(x, graph), y)
    said = layer.attention(x, graph, None, Context())
    np.testing.assert_array_equal(said[0].weights[:, 0], gates[0])
    np.testing.assert_array_equal(said[1].weights[:, 0], weights[0])
    assert len(layer.stack.blocks) == 1 and net().project is None


def test_refusals():
    with pytest.raises(ValueError, match="graph layer 'fsatfusion': heads=3 does not divide the width D=8"):
        net(heads=3)
