"""What a trained model computes on the way, node by node, and how the loss of a class depends on it.

The layers are the encoding of every modality ("encoder image"), the streams behind every graph layer where each
modality has its own ("stream 1 image"), the fused state ("fusion") and every graph layer behind it ("layer 1").
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.model import Model
from fusion_jax.records import Array, Batch


def states(model: Model, batch: Batch) -> dict[str, np.ndarray]:
    """{layer: [N, d]} in the order of the model."""
    found = _states(*nnx.split(model), batch)  # jit sorts the keys
    return {name: np.asarray(found[name]) for name in _order(model)}


@functools.partial(jax.jit, static_argnums=0)
def _states(graphdef, state, batch: Batch) -> dict[str, Array]:
    model, found = nnx.merge(graphdef, state), {}

    def tap(name: str, x: Array) -> Array:
        found.update(_by_modality(name, x, model.names))
        return x

    model(batch, tap=tap)
    return found


def gradients(model: Model, batch: Batch, nodes: np.ndarray, target: int) -> dict[str, np.ndarray]:
    """{layer: [n, d]}: for every given node the gradient of its own class loss to its own state.

    The loss is -log p(target). Each node gets a backward pass of its own: with one pass for all, the loss of a
    node's neighbours would be in its gradient.
    """
    zero = {name: jnp.zeros(x.shape[1:], jnp.float32) for name, x in states(model, batch).items()}
    found = _gradients(*nnx.split(model), batch, zero, jnp.asarray(nodes), jnp.asarray(target))
    return {name: np.asarray(found[name]) for name in zero}


@functools.partial(jax.jit, static_argnums=0)
def _gradients(graphdef, state, batch: Batch, zero: dict[str, Array], nodes: Array, target: Array) -> dict[str, Array]:
    def loss(deltas, node):
        model = nnx.merge(graphdef, state)

        def tap(name: str, x: Array) -> Array:
            if x.ndim == 2:
                return x.at[node].add(deltas[name])
            return x.at[node].add(jnp.stack([deltas[n] for n in _by_modality(name, x, model.names)]))

        return -jax.nn.log_softmax(model(batch, tap=tap).prediction[node])[target]

    return jax.lax.map(lambda node: jax.grad(loss)(zero, node), nodes)


def _by_modality(name: str, x: Array, modalities: tuple[str, ...]) -> dict[str, Array]:
    if x.ndim == 2:
        return {name: x}
    return {f"{name} {m}": x[:, i] for i, m in enumerate(modalities)}


def _order(model: Model):
    for name in ("encoder", *(f"stream {i + 1}" for i in range(len(model.streams)))):
        yield from (f"{name} {m}" for m in model.names)
    if model.placement != "decision":
        yield "fusion"
        yield from (f"layer {i + 1}" for i in range(len(model.layers)))
