"""The readouts of pairs by hand, and a model that reads pairs."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph

HISTORY = np.random.default_rng(0).normal(size=(5, 2, 3))
PAIRS = np.array([[0, 4], [3, 1], [2, 2]])


def read(name: str) -> np.ndarray:
    graph = dataclasses.replace(Graph.create([0, 1], [1, 0], 5), pairs=jnp.asarray(PAIRS))
    made = zoo.get("readout", name)(3, 2, rngs=nnx.Rngs(0))
    return np.asarray(made(jnp.asarray(HISTORY), graph).out)


def test_the_product_of_the_last_states_and_its_sum():
    h = HISTORY[:, -1]
    expected = np.stack([h[u] * h[v] for u, v in PAIRS])
    np.testing.assert_allclose(read("hadamard"), expected, rtol=1e-12)
    np.testing.assert_allclose(read("dot"), expected.sum(1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize("name", [n for n in zoo.names("readout") if zoo.get("readout", n).level == "link"])
def test_the_order_of_a_pair_says_nothing(name, monkeypatch):
    forth = read(name)
    monkeypatch.setitem(globals(), "PAIRS", PAIRS[:, ::-1])
    np.testing.assert_array_equal(read(name), forth)
