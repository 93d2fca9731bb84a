"""What a trained model attends to among a node's modalities, and which classes change where some are masked."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.analysis.causal_attention.explanation import Set
from fusion_jax.records import Array, Attention, Batch, Context, Output
from fusion_jax.results.restore import Restored


class Shown(NamedTuple):
    """The attention of the last layer of the last fusion that has one among modalities."""

    name: str
    weights: np.ndarray  # [N, H, M, M], query x key
    tokens: np.ndarray  # bool [N, M], those that are there


def is_among_modalities(attention: Attention) -> bool:
    ends = attention.axes[0], *attention.axes[-2:]
    return attention.normalised and attention.queries == "modality" and ends == ("node", "modality", "modality")


def last_attention(cell: Restored, place: int, asker: str) -> Shown:
    """Of one seed's model in evaluation.

    Raises:
        ValueError: its fusions show no attention among modalities, in the name of the asker.
    """
    output: Output = cell.models[place](cell.batch(place), context=cell.context(place))
    found = [a for a in output.attention if a.name.startswith("fusion") and is_among_modalities(a)]
    if not found:
        shown = ", ".join(f"{a.name!r} ({' x '.join(a.axes)})" for a in output.attention) or "none"
        raise ValueError(
            f"{asker} looks at attentions of modalities among each other; fusion {cell.plan.model.fusion.name!r} of "
            f"this cell shows none: {shown}"
        )
    last = found[-1]
    axes, weights = list(last.axes), np.asarray(last.weights, np.float64)
    tokens = np.asarray(output.present)
    if last.valid is not None:
        tokens = np.broadcast_to(last.valid, weights.shape).any(tuple(range(1, len(axes) - 1)))
    for name in ("layer", "block"):
        if name in axes:
            weights = weights.take(-1, axes.index(name))
            axes.remove(name)
    n, *_, m = weights.shape
    return Shown(last.name, weights.reshape(n, -1, m, m), tokens)


def flips(cell: Restored, place: int, nodes: np.ndarray) -> list[dict[Set, bool]]:
    """Of every node: {modalities it has, but not all of them: whether masking them there changes its class}."""
    model, batch, context = cell.models[place], cell.batch(place), cell.context(place)
    own = np.asarray(batch.mask)[nodes]
    asked = [[s for s in subsets(np.flatnonzero(has)) if len(s) < has.sum()] for has in own]
    hidden = np.zeros((sum(map(len, asked)) + len(nodes), own.shape[1]), bool)  # those of no mask stand last
    for row, s in enumerate(itertools.chain.from_iterable(asked)):
        hidden[row, list(s)] = True
    where = np.concatenate([np.repeat(nodes, list(map(len, asked))), nodes])
    classes = np.asarray(_classes(*nnx.split(model), batch, context, jnp.asarray(where), jnp.asarray(hidden)))
    whole, rest = classes[len(classes) - len(nodes) :], iter(classes)
    return [{s: bool(next(rest) != before) for s in sets} for sets, before in zip(asked, whole, strict=True)]


def subsets(members: np.ndarray) -> list[Set]:
    """All but the empty one, the smallest first."""
    sizes = range(1, len(members) + 1)
    return [tuple(map(int, s)) for size in sizes for s in itertools.combinations(members, size)]


@functools.partial(jax.jit, static_argnums=0)
def _classes(graphdef, state, batch: Batch, context: Context, where: Array, hidden: Array) -> Array:
    """The class of node where[i] with hidden[i] [M] masked there alone, int [K]: one forward pass each."""

    def one(asked):
        node, gone = asked
        mask = batch.mask.at[node].set(batch.mask[node] & ~gone)
        output = nnx.merge(graphdef, state)(dataclasses.replace(batch, mask=mask), context=context)
        return output.prediction[node].argmax()

    return jax.lax.map(one, (where, hidden))
