"""Which epoch of a training is kept: the scores, larger is better, by which validation rows say so."""

from __future__ import annotations

import jax.numpy as jnp

from fusion_jax import tasks
from fusion_jax.records import Array, Context, Output, Target
from fusion_jax.tasks.base import Score, Task


def selection(select: str, target: Target, loss: Score) -> Score:
    """The score by which an epoch is kept: the task's own ("score"), the lowest "loss", or the "last" epoch."""
    return dict(score=tasks.of(target).score, loss=Task().score, last=lambda loss: last_epoch)[select](loss)


def last_epoch(output: Output, target: Target, weight: Array, context: Context) -> Array:
    """The selection score that keeps the last epoch: no row is looked at."""
    del output, target, weight
    return context.step


def readable(score: Array) -> Array:
    """A selection score as one real number, for the history: correct + 1 / (1 + loss) of correct - i loss."""
    if not jnp.iscomplexobj(score):
        return score
    return score.real + 1 / (1 + jnp.maximum(-score.imag, 0))
