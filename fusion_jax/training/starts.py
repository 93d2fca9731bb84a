"""How a stage of training starts: from what the stage before has kept, changed by its `begin`."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax import tasks
from fusion_jax.records import Batch, Target
from fusion_jax.training.flat import flat
from fusion_jax.training.snapshots import fill
from fusion_jax.training.stages import PlannedStage, begun
from fusion_jax.training.state import State, initial_state
from fusion_jax.training.step import LossFn, Penalty, training_loss
from fusion_jax.training.trial import Trial, scaled


def start_stage(
    planned: PlannedStage,
    graphdef: Any,
    state: State,
    trials: Trial,
    batch: Batch,
    target: Target,
    loss: LossFn,
    penalty: Penalty | None,
) -> State:
    """The state of every seed before the stage: what the stage before has kept (or its last), changed by `begin`, all
    else fresh, but the optimiser where it is to go on. A seed that has diverged stays so, and is not shown to `begin`.
    """
    stage = planned.stage
    best = stage.start == "best"
    params, rest = (state.best_params, state.best_rest) if best else (state.params, state.rest)
    if stage.begin is not None:
        seeds = []
        for i, diverged in enumerate(state.diverged.tolist()):
            own = jax.tree.map(lambda a, i=i: a[i], (params, rest, trials, target))
            changed = own[:2] if diverged >= 0 else _begun(planned, graphdef, *own, batch, loss, penalty)
            seeds.append(changed)
        params, rest = jax.tree.map(lambda *a: jnp.stack(a), *seeds)

    def fresh(params, rest, buffer, numbers):
        buffer, tx = fill(buffer, planned.slots, planned.first, params, rest), planned.optimizer(numbers)
        return initial_state(params, rest, tx, *state.best_prediction.shape[1:], planned.first, buffer)

    new = jax.vmap(fresh)(params, rest, state.snapshots, trials.numbers)
    new = dataclasses.replace(new, diverged=state.diverged, cause=state.cause)
    if stage.same_optimizer:
        new = dataclasses.replace(new, opt_state=state.opt_state)
    # copies: the parameters stand in the state twice, and its buffers are given to the program
    return jax.tree.map(jnp.copy, new)


def _begun(planned, graphdef, params, rest, trial: Trial, target: Target, batch: Batch, loss, penalty):
    """Parameters and variables of one seed after `begin`, which sees the batch and the labels of training only."""
    seen, weight = scaled(batch, trial), trial.train_weight
    target = tasks.of(target).hide_unseen(target, weight > 0)
    epoch = jnp.array(planned.first, jnp.int32)

    def own_loss(model: nnx.Module, key: jax.Array) -> jax.Array:
        return training_loss(model, seen, target, trial, epoch, key, planned=planned, loss=loss, penalty=penalty)

    key = jax.random.fold_in(trial.key, planned.first)
    key = jax.random.fold_in(key, 3 + planned.place)  # 0, 1 and 2 are those of the epoch, see `step.training_loss`
    params, rest = begun(planned, graphdef, params.tree, rest, seen, target, weight, own_loss, key)
    return flat(params), rest
