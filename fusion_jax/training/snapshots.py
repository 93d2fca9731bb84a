"""Snapshots: parameters and variables kept after chosen epochs, in a buffer that is part of the training state.

The buffer has one slot an epoch, [K, ...] of every leaf; it is () where nothing is asked for. The epochs of a run are
counted from the start of its first stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.schemes.base import Stage
from fusion_jax.training.flat import Flat, tree_on_host

NEVER = -1


def asked_for(stages: Sequence[Stage], evenly: int) -> list[set[int]]:
    """The epochs of the run at which each stage fills a slot: its own, and `evenly` many from 0 on to the last.

    Where one stage ends and the next begins, of the evenly spaced ones the end is kept: what that many epochs of
    training have led to. Where both stages ask for that epoch themselves, the beginning of the later one is.
    """
    ends = np.cumsum([stage.epochs for stage in stages]).tolist()
    asked = [{end - stage.epochs + epoch for epoch in stage.snapshots} for stage, end in zip(stages, ends, strict=True)]
    for epoch in np.round(np.linspace(0, ends[-1], evenly)).astype(int).tolist():
        asked[next(i for i, end in enumerate(ends) if epoch <= end)].add(epoch)
    return asked


def slots_of(asked: Sequence[set[int]]) -> list[tuple[int, ...]]:
    """[K] a stage: the epoch of every slot that the stage fills, NEVER for the slots of others."""
    epochs = sorted(set().union(*asked))
    return [tuple(epoch if epoch in own else NEVER for epoch in epochs) for own in asked]


def epochs_of(slots: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """[K], the epoch of every slot, from those of all stages."""
    return tuple(max(of_stages) for of_stages in zip(*slots, strict=True))


def empty_buffer(params: Flat, rest: Any, count: int) -> Any:
    """A buffer for one seed, before anything has been kept."""
    return jax.tree.map(lambda x: jax.device_put(np.stack([x] * count)), (params, rest)) if count else ()


def fill(buffer: Any, slots: Sequence[int], epoch: jax.Array, params: Flat, rest: Any) -> Any:
    """The buffer of one seed with what it is after `epoch` epochs in that slot and all later ones of the stage.

    So a seed that stops has left its last in the slots behind, and nothing needs to be done when it does.

    Args:
        slots: of the stage that runs, see `slots_of`.
    """
    if all(slot == NEVER for slot in slots):
        return buffer
    due = jnp.asarray(slots, jnp.int32) >= epoch

    def write(old, new):
        return jnp.where(due.reshape(-1, *[1] * new.ndim), new, old)

    return jax.tree.map(write, buffer, (params, rest))


def taken(buffer: Any, epochs: Sequence[int]) -> dict[int, tuple[Any, Any]]:
    """{epoch: (params, rest)}, leaves [S, ...], from the buffers [S, K, ...] of all seeds."""
    buffer = jax.tree.map(np.asarray, buffer)
    slots = {epoch: jax.tree.map(lambda a, k=k: a[:, k], buffer) for k, epoch in enumerate(epochs)}
    return {epoch: tree_on_host(slot) for epoch, slot in slots.items()}
