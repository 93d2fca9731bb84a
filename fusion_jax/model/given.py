"""What the fusions of a model are given, beside what the model says."""

from __future__ import annotations

import functools

import jax
from flax import nnx

from fusion_jax.records import EVALUATION, Array, Batch, Context, Output


def given(model: nnx.Module, batch: Batch, context: Context = EVALUATION) -> tuple[tuple[Array, ...], Output]:
    """What each fusion of a `Model` is given in evaluation, [N, M, D] each, and what the model says."""
    return _given(*nnx.split(model), batch, context)


@functools.partial(jax.jit, static_argnums=0)  # one program for all states of a model
def _given(graphdef, state, batch: Batch, context: Context) -> tuple[tuple[Array, ...], Output]:
    model, held = nnx.merge(graphdef, state), []

    def tap(name: str, x: Array) -> Array:
        if name == "encoder" or name.startswith("stream"):
            held.append(x)
        return x

    output = model(batch, context=context, tap=tap)
    if model.placement == "decision":
        return (output.streams,), output
    return tuple(held if model.placement == "interleaved" else held[-1:]), output
