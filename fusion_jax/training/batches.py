"""An epoch in batches: one step each of B training rows, in an order that is drawn anew, each with its neighbourhood.

All of it is inside the compiled program. A batch's keys are the trial's folded with the epoch and the batch, so that
nothing has to be remembered between epochs, and no seed knows of another one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fusion_jax import keys
from fusion_jax.records import Array, Batch, Target
from fusion_jax.training.neighbourhood import Neighbourhood
from fusion_jax.training.state import State
from fusion_jax.training.trial import Trial

Moved = tuple[
    Any, Any, Any, Array, Array
]  # parameters, variables, the optimiser's state, loss, bool [3] what is finite
Descend = Callable[[State, Trial, Batch, Target], Moved]
ORDER, ROWS = 5, 6  # what the epoch's key is folded with: the order of rows, and their neighbourhoods


def one_pass(
    descend: Descend, state: State, trial: Trial, batch: Batch, target: Target, *, form: Neighbourhood
) -> Moved:
    """Every training row once, B = `form.rows` at a time; the last batch is filled up with rows of weight 0.

    The loss of a batch b of the K is K sum_b w / sum w times its weighted mean, K sum_b w_n l_n / sum w: the mean over
    an epoch's batches is the weighted mean over all training rows, whatever the weights and however many rows the last
    batch has. What comes back as loss is that mean, each batch with the parameters it was met with.

    Args:
        descend: one step on what it is given.
    """
    weight, size = trial.train_weight, form.rows
    key = keys.fold_in(trial.key, state.epoch)
    trained = weight > 0
    count = -(-trained.sum() // size)
    draw = jax.random.uniform(keys.fold_in(key, ORDER), weight.shape)
    order = jnp.argsort(jnp.where(trained, draw, 2.0))
    order = jnp.concatenate([order, jnp.zeros(size, order.dtype)]).astype(jnp.int32)
    per_batch = count.astype(weight.dtype) / weight.sum()

    def step(i: Array, held: tuple) -> tuple:
        params, rest, opt_state, loss, finite = held
        rows = jax.lax.dynamic_slice(order, (i * size,), (size,))
        there = i * size + jnp.arange(size) < trained.sum()
        own_key = keys.fold_in(keys.fold_in(key, ROWS), i)
        own_weight = jnp.where(there, weight[rows], 0)
        own = dataclasses.replace(trial, key=own_key, train_weight=own_weight, share=own_weight.sum() * per_batch)
        part = form.sample(batch, rows, there, keys.fold_in(own_key, ROWS))
        now = dataclasses.replace(state, params=params, rest=rest, opt_state=opt_state)
        *moved, value, ok = descend(now, own, part, jax.tree.map(lambda a: a[rows], target))
        return *moved, loss + value.astype(loss.dtype) / count.astype(loss.dtype), finite & ok

    before = state.params, state.rest, state.opt_state, jnp.zeros((), jnp.float32), jnp.ones(3, bool)
    return jax.lax.fori_loop(0, count, step, before)
