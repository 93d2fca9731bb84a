"""Linear -> activation -> linear, the block most papers end with."""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import nnx

from fusion_jax.nn.dropout import dropout
from fusion_jax.nn.init import LECUN_NORMAL
from fusion_jax.nn.sparse_rows import SparseRows, linear
from fusion_jax.records import Array


class MLP(nnx.Module):
    """y = W2 f(W1 x + b1) + b2, hidden width `hidden`, dropout before W2."""

    def __init__(
        self,
        dim: int,
        hidden: int,
        out: int | None = None,
        *,
        activation: Callable[[Array], Array] = jax.nn.relu,
        rate: float = 0.0,
        bias: bool = True,
        kernel_init=LECUN_NORMAL,
        rngs: nnx.Rngs,
    ):
        self.fc1 = nnx.Linear(dim, hidden, use_bias=bias, kernel_init=kernel_init, rngs=rngs)
        self.fc2 = nnx.Linear(hidden, dim if out is None else out, use_bias=bias, kernel_init=kernel_init, rngs=rngs)
        self.activation, self.rate = activation, rate

    def __call__(self, x: Array | SparseRows, *, key: Array | None = None) -> Array:
        return self.fc2(dropout(self.activation(linear(self.fc1, x)), self.rate, key))


def gelu(x: Array) -> Array:
    """The exact (erf) gelu; JAX's default is the tanh approximation, 1e-3 away."""
    return jax.nn.gelu(x, approximate=False)
