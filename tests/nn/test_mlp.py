"""Two linear maps with a bend between them."""

import jax
import numpy as np
import pytest
from flax import nnx
from scipy.special import erf

from fusion_jax.nn.mlp import MLP, gelu
from tests.helpers import parameters
from tests.nn.reference import close, derivatives, drawn, linear, normal, random_only_with_a_key

X = normal(3, 4)


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_equation(bias):
    module, p = drawn(MLP(4, 5, 2, bias=bias, rngs=nnx.Rngs(0)))
    assert set(p) == {f"fc{i}.{part}" for i in (1, 2) for part in (("kernel", "bias") if bias else ("kernel",))}
    close(module(X), linear(p, "fc2", np.maximum(linear(p, "fc1", X), 0)))
    module, p = drawn(MLP(4, 5, bias=bias, activation=jax.numpy.sin, rngs=nnx.Rngs(0)))
    close(module(X), linear(p, "fc2", np.sin(linear(p, "fc1", X))))
    assert module(X).shape == X.shape
    close(module(X, key=jax.random.key(0)), module(X))


def test_kernels_start_as_they_are_told():
    made = MLP(4, 5, kernel_init=nnx.initializers.constant(0.5), rngs=nnx.Rngs(0))
    for name, p in parameters(made).items():
        np.testing.assert_array_equal(p[...], np.full(p.shape, 0.5 if name.endswith("kernel") else 0))


def test_dropout_is_before_the_second_map_and_needs_a_key():
    module, p = drawn(MLP(4, 5, 2, rate=0.4, rngs=nnx.Rngs(0)))
    random_only_with_a_key(lambda key: module(X, key=key), unbiased=True)
    hidden = np.maximum(linear(p, "fc1", X[:1]), 0)
    found = np.asarray(jax.vmap(lambda key: module(X[:1], key=key))(jax.random.split(jax.random.key(0), 50)))
    kept = np.array(np.meshgrid(*[[0, 1 / 0.6]] * 5)).reshape(5, -1).T  # all that can be left of five hidden units
    possible = linear(p, "fc2", kept * hidden)
    assert all(np.abs(possible - row).max(1).min() < 1e-9 for row in found[:, 0])


def test_gelu_is_the_exact_one():
    x = normal(100) * 3
    close(gelu(x), np.asarray(x) * (1 + erf(np.asarray(x) / np.sqrt(2))) / 2)
    derivatives(gelu, x[:5])
    module, _ = drawn(MLP(4, 5, 2, activation=gelu, rngs=nnx.Rngs(0)))
    derivatives(module, X)
