"""The contract of a loss, and the weighted mean all of them end with.

A loss is a function named like its file,

    def cross_entropy(output: Output, target: Target, weight: Array, *, context: Context, <options>) -> scalar

with `weight` float [N], 0 at every node whose label must not be seen, and `context` of which it may use the epoch
(for annealed terms) and the key. Labels under weight 0 are set to 0 on the host, so a loss cannot see them by
accident. The module constant `INFO` is its entry in the catalogue, and names the tasks it is defined for.
"""

from __future__ import annotations

import jax.numpy as jnp

from fusion_jax import tasks
from fusion_jax.records import Array, Context, Info, Target


def check_task(loss: str, info: Info, target: Target) -> None:
    """Raises ValueError, naming the loss, where its entry does not name the target's task, nor the task this loss."""
    if info.tasks and target.kind not in info.tasks and tasks.of(target).loss != loss:
        kinds = " and ".join(info.tasks)
        raise ValueError(f"loss {loss!r} is defined for {kinds}, the task is {target.kind!r} (loss.name)")


def epoch_of(context: Context) -> Array | int:
    """The epoch of training, 0 outside it."""
    return 0 if context.step is None else context.step


def weighted_mean(values: Array, weight: Array) -> Array:
    """sum_n w_n v_n / sum_n w_n over the rows with w_n > 0; 0 where there are none."""
    kept = jnp.where(weight > 0, values, 0)
    total = weight.sum()
    return (kept * weight).sum() / jnp.where(total > 0, total, 1)
