"""Graph layers on one stream a modality."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.init import stack
from fusion_jax.records import EVALUATION, Array, Attention, Context

Call = Callable[..., Any]  # layer, x [N, D], graph, present [N], context -> what is asked of it


def _state(layer, *given) -> Array:
    return layer(*given)


def _attention(layer, *given) -> tuple[Attention, ...]:
    return layer.attention(*given)


def _losses(layer, *given) -> dict[str, Array]:
    return layer.losses(*given)


def _variables(layer) -> Any:
    return nnx.state(layer, nnx.Not(nnx.Param))


class Streams(nnx.Module):
    """One graph layer a modality: x [N, M, D] -> [N, M, D'], every stream with weights of its own.

    Streams that share an edge set run as one `vmap`, so that one sparse product serves all of them; streams
    with edge sets of their own (`graph.views`) run one after another. `make(rngs)` builds the layer of one stream.
    """

    def __init__(self, make: Callable[[nnx.Rngs], nnx.Module], modalities: int, *, rngs: nnx.Rngs):
        self.layers = stack(make, modalities, rngs)
        self.modalities = modalities

    def __call__(
        self, x: Array, graph: Graph | None, present: Array | None = None, context: Context = EVALUATION
    ) -> Array:
        """x [N, M, D] -> [N, M, D']; `present` bool [N, M] says who has something in each stream, all if None."""
        if graph is None or not graph.views:
            y, variables = self._at_once(_state, 1, x, graph, present, context)
        else:
            each, variables = self._in_turn(_state, x, graph, present, context)
            y = jnp.stack(each, axis=1)
        nnx.update(self.layers, variables)
        return y

    def attention(self, x, graph, present, context) -> list[tuple[Attention, ...]]:
        """That of the layer of every stream."""
        return self._each(_attention, x, graph, present, context)

    def losses(self, x, graph, present, context) -> dict[str, Array]:
        """Those of the layers, summed over the streams."""
        return jax.tree.map(lambda *a: sum(a), *self._each(_losses, x, graph, present, context))

    def _each(self, call: Call, x, graph, present, context) -> list:
        """What `call` says of every stream."""
        if graph is not None and graph.views:
            return self._in_turn(call, x, graph, present, context)[0]
        said, _ = self._at_once(call, 0, x, graph, present, context)
        return [jax.tree.map(lambda a, m=m: a[m], said) for m in range(self.modalities)]

    def _at_once(self, call: Call, axis: int, x, graph, present, context) -> tuple[Any, Any]:
        """What `call` says of all streams, stacked along `axis`; and the variables of the layers behind it, [M, ...]"""
        keys = None if context.key is None else jnp.stack([own.key for own in context.split(self.modalities)])

        def run(layer, x, present, key):
            # vmap runs copies of the layers: what they write has to be handed back
            return call(layer, x, graph, present, dataclasses.replace(context, key=key)), _variables(layer)

        axes = (0, 1, None if present is None else 1, None if keys is None else 0)
        return jax.vmap(run, axes, (axis, 0))(self.layers, x, present, keys)

    def _in_turn(self, call: Call, x, graph, present, context) -> tuple[list, Any]:
        """The same of one stream after another, each on an edge set of its own."""
        each, variables = [], []
        for m, own in enumerate(context.split(self.modalities)):
            layer = jax.tree.map(lambda a, m=m: a[m], self.layers)
            each.append(call(layer, x[:, m], graph.view(m), None if present is None else present[:, m], own))
            variables.append(_variables(layer))
        return each, jax.tree.map(lambda *a: jnp.stack(a), *variables)

    def reached(self, present: Array, graph: Graph | None) -> Array:
        """bool [N, M]: who has something in each stream behind the layer."""
        if graph is None or not graph.views:
            return self.layers.reached(present, graph)
        return jnp.stack([self.layers.reached(present[:, m], graph.view(m)) for m in range(self.modalities)], axis=1)
