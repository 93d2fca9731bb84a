"""Which classes of a trained model change where some modalities of a node are masked."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.analysis.causal_attention.explanation import Set
from fusion_jax.records import Array, Batch, Context
from fusion_jax.results.restore import Restored


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
        output = nnx.merge(graphdef, state)(batch.with_mask(mask), context=context)
        return output.prediction[node].argmax()

    return jax.lax.map(one, (where, hidden))
