"""Means over senders that are present, and the linear map of a node and that mean."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.nn.neighbour_mean import NeighbourLinear, NeighbourScale, neighbour_mean
from tests.nn.reference import N, close, derivatives, drawn, graph, matrix, normal


def plain(x, a, present):
    a = a * present[None]
    return a @ np.where(present[:, None], x, 0) / np.maximum(a.sum(1, keepdims=True), 1)


def test_the_mean_counts_present_senders_only():
    g, x = graph(), normal(N, 2, 3)
    present = np.array([[1, 1], [0, 1], [1, 0], [1, 1], [0, 0], [1, 1]], bool)
    spoiled = jnp.where(present[..., None], x, jnp.nan)
    found = neighbour_mean(spoiled, g, jnp.asarray(present))
    for m in range(2):
        close(found[:, m], plain(np.asarray(x)[:, m], matrix(g), present[:, m]))
        close(neighbour_mean(spoiled[:, m], g, jnp.asarray(present[:, m])), found[:, m])
    close(neighbour_mean(x, g)[:, 0], plain(np.asarray(x)[:, 0], matrix(g), np.ones(N, bool)))
    derivatives(lambda x: neighbour_mean(x, g, jnp.asarray(present)), x)


def test_the_linear_map_is_its_equation_and_its_own_part_without_a_graph():
    module, p = drawn(NeighbourLinear(3, 5, rngs=nnx.Rngs(0)))
    g, x = graph(), normal(N, 3)
    own = np.asarray(x) @ p["own.kernel"] + p["own.bias"]
    close(module(x, g), own + plain(np.asarray(x), matrix(g), np.ones(N, bool)) @ p["neighbour.kernel"])
    close(module(x, None), own)
    assert "own.bias" not in drawn(NeighbourLinear(3, 5, use_bias=False, rngs=nnx.Rngs(0)))[1]


def test_who_has_nothing_is_a_zero_to_the_linear_map():
    module, p = drawn(NeighbourLinear(3, 5, rngs=nnx.Rngs(0)))
    g, x, present = graph(), normal(N, 3), np.arange(N) % 2 == 0
    near = plain(np.asarray(x), matrix(g), present) @ p["neighbour.kernel"]
    own = np.where(present[:, None], x, 0) @ p["own.kernel"] + p["own.bias"]
    spoiled = jnp.where(present[:, None], x, jnp.nan)
    close(module(spoiled, g, jnp.asarray(present)), own + near)


def test_scales_are_of_oneself_and_the_mean_channel_by_channel():
    module, p = drawn(NeighbourScale(3, std=0.5, rngs=nnx.Rngs(0)))
    g, x, present = graph(), normal(N, 3), np.arange(N) % 2 == 0
    zeroed = np.where(present[:, None], x, 0)
    expected = p["own"] * zeroed + p["neighbour"] * plain(zeroed, matrix(g), present) + p["bias"]
    close(module(jnp.where(present[:, None], x, jnp.nan), g, jnp.asarray(present)), expected)
    first = NeighbourScale(4000, std=0.5, rngs=nnx.Rngs(0))
    assert not first.bias[...].any()
    for weight in (first.own, first.neighbour):
        assert abs(float(weight[...].std()) - 0.5) < 0.03
