"""The mean of the losses of several targets, each on its own columns of the prediction."""

from __future__ import annotations

import dataclasses

from fusion_jax import tasks, zoo
from fusion_jax.losses.base import check_task
from fusion_jax.records import Array, Context, Info, Output, Target

INFO = Info("Folklore: multi-task learning with fixed weights", cost="that of the targets' losses", tasks=("several",))


def several(
    output: Output,
    target: Target,
    weight: Array,
    *,
    context: Context,
    weights: tuple[float, ...] = (),
    losses: tuple[str, ...] = (),
) -> Array:
    """sum_k w_k L_k / sum_k w_k.

    Args:
        weights: w_k, one a target in their order, at least 0 and not all 0; () for 1 each.
        losses: the name of each target's loss; () for that of its task.
    Raises:
        ValueError: a task other than several targets; numbers of weights or losses that are not that of the targets.
    """
    check_task("several", INFO, target)
    parts = list(tasks.of(target).parts(target))
    weights = weights or (1.0,) * len(parts)
    losses = losses or tuple(tasks.of(part).loss for _, part, _ in parts)
    if len(weights) != len(parts) or len(losses) != len(parts):
        names = ", ".join(name for name, _, _ in parts)
        raise ValueError(f"loss 'several': weights={weights}, losses={losses}; expected one each for {names}")
    if min(weights) < 0 or not sum(weights) > 0:
        raise ValueError(f"loss 'several': weights={weights}, expected numbers of at least 0, not all 0")
    total = 0.0
    for (_, part, columns), share, name in zip(parts, weights, losses, strict=True):
        streams = None if output.streams is None else output.streams[..., columns]
        # opinions are on all columns at once, and are no opinions on some of them
        own = dataclasses.replace(output, prediction=output.prediction[:, columns], streams=streams, evidence=None)
        total = total + share / sum(weights) * zoo.get("loss", name)(own, part, weight, context=context)
    return total
