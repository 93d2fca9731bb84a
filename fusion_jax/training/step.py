"""One training epoch of one seed: a full-batch gradient step, then an evaluation on the validation rows.

Everything a seed has of its own is in `Trial` (fixed) and `State` (moving); both get a leading seed axis in
`loop`. Nothing here knows of seeds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from fusion_jax import keys
from fusion_jax.records import Array, Batch, Context, Output, Target
from fusion_jax.traced import Numbers
from fusion_jax.training.flat import Flat, flat
from fusion_jax.training.parts import restricted_to
from fusion_jax.training.rows import first_rows
from fusion_jax.training.selection import readable
from fusion_jax.training.snapshots import fill
from fusion_jax.training.stages import PlannedStage
from fusion_jax.training.state import State
from fusion_jax.training.trial import Trial, known_to_model

HISTORY = ("train_loss", "val_loss", "val_score")  # what an epoch reports
LossFn = Callable[[Output, Target, Array, Context], Array]  # output, target, weight [N], context -> scalar
Penalty = Callable[[Any, Numbers | None], Array]  # parameters, what training is told in numbers -> scalar


def training_loss(
    model: nnx.Module,
    batch: Batch,
    target: Target,
    trial: Trial,
    epoch: Array,
    key: Array,
    *,
    planned: PlannedStage,
    loss: LossFn,
    penalty: Penalty | None = None,
) -> Array:
    """What a training step of the stage minimises: its loss, the losses of mechanisms, the penalty on parameters.

    Rows that a mechanism has shown their own label leave the loss; side predictions add theirs, at their weight.
    """
    stage, weight = planned.stage, trial.train_weight
    scheme_key, model_key = keys.split(key, 2)
    told = dict(step=epoch, total=planned.total, numbers=trial.numbers)
    context = known_to_model(target, weight, key=model_key, **told)
    output = stage.forward(model, stage.transform(batch, scheme_key), context=context)
    now = Context(**told)
    if output.revealed is not None:
        weight = jnp.where(output.revealed, 0, weight)
    if stage.loss is None:
        value = loss(output, target, weight, now)
    else:
        loss_key = keys.fold_in(key, 2)  # 0 and 1 are the two keys of the split
        value = stage.loss(model, output, target, weight, epoch, loss_key)
    for head in output.heads:
        # the opinions and the single modalities' predictions are the main prediction's, and in its loss already
        said = dataclasses.replace(output, prediction=head.values, streams=None, evidence=None)
        value = value + head.weight * loss(said, target, weight, now)
    value = value if trial.share is None else value * trial.share.astype(value.dtype)
    value = value + sum(output.losses.values(), 0.0)
    return value if penalty is None else value + penalty(nnx.state(model, nnx.Param), trial.numbers)


def make_epoch(
    graphdef: Any,
    loss: LossFn,
    score: LossFn,
    planned: PlannedStage,
    select_on_whole: bool = False,
    select_every: int = 1,
    penalty: Penalty | None = None,
) -> Callable[[State, Trial, Batch, Batch, Target], tuple[State, dict[str, Array]]]:
    """The function one epoch is: (state, trial, batch of training, whole batch, target) -> state, history.

    Of a stage without epochs it is the one evaluation, without a history. The two batches differ in the inductive
    setting, or where evaluation has other edges: selection looks at the first, predictions come from the second.

    Args:
        loss: the training loss (without the losses mechanisms add, which are added here).
        score: larger is better, on the validation rows; a complex one is compared by its real part first.
        planned: what is trained, on what and how (a scheme's hook), and where in the run.
        select_on_whole: selection looks at the second batch too (protocol `paper`, which selects on test rows).
        select_every: selection looks at every so many epochs, and at the stage's last.
        penalty: added to the training loss of every stage; selection does not see it.
    """
    stage = planned.stage

    def objective(params: Flat, state: State, trial: Trial, batch: Batch, target: Target):
        key = keys.fold_in(trial.key, state.epoch)
        model = nnx.merge(graphdef, params.tree, state.rest, copy=True)
        value = training_loss(
            model, batch, target, trial, state.epoch, key, planned=planned, loss=loss, penalty=penalty
        )
        return value, nnx.split(model, nnx.Param, ...)[2]

    def changed(grads, state: State, trial: Trial, batch: Batch, target: Target):
        """The gradients after the stage's `gradients`."""
        if stage.gradients is None:
            return grads
        key = keys.fold_in(keys.fold_in(trial.key, state.epoch), 3)  # 0 to 2 are those of the loss
        model = nnx.merge(graphdef, state.params.tree, state.rest, copy=True)
        epoch = state.epoch - planned.first
        return flat(stage.gradients(model, grads.tree, batch, target, trial.train_weight, epoch, key))

    def remembered(params, rest, trial: Trial, batch: Batch, target: Target):
        """The variables after the stage's `remember`."""
        if stage.remember is None:
            return rest
        model = nnx.merge(graphdef, params.tree, rest, copy=True)
        stage.remember(model, batch, target, trial.train_weight)
        return nnx.split(model, nnx.Param, ...)[2]

    def evaluate(params, rest, state: State, trial: Trial, batch: Batch, whole: Batch, target: Target):
        """Prediction and uncertainty of all rows; loss, readable score and score of the validation rows."""
        model = nnx.merge(graphdef, params.tree, rest, copy=True)
        rows = len(trial.val_weight)
        context = known_to_model(target, trial.train_weight)
        now = Context(step=state.epoch, total=planned.total, numbers=trial.numbers)
        output = first_rows(stage.forward(model, whole if select_on_whole else batch, context=context), rows)
        same = select_on_whole or whole is batch
        shown = output if same else first_rows(stage.forward(model, whole, context=context), rows)
        unsure = state.best_uncertainty if shown.uncertainty is None else shown.uncertainty
        val_loss = loss(output, target, trial.val_weight, now)
        new = score(output, target, trial.val_weight, now)
        found = (shown.prediction, unsure, val_loss, readable(new))
        return *(a.astype(jnp.float32) for a in found), new.astype(jnp.complex64)

    def skip_evaluation(state: State):
        """In the place of `evaluate`, at an epoch that selection does not look at."""
        nan = jnp.array(jnp.nan, jnp.float32)
        never = nan.astype(jnp.complex64)  # a score that is no number is never better
        return state.best_prediction, state.best_uncertainty, nan, nan, never

    def best_after(state: State, params, rest, epoch: Array, finite: Array, predicted, unsure, score) -> dict:
        """The fields of the best, which is this epoch if it is `finite`, and better or the one to be kept."""
        better = finite if stage.keep == "last" else finite & (score > state.best_score)  # false for NaN

        def pick(a, b):
            return jax.tree.map(lambda x, y: jnp.where(better, x, y), a, b)

        return dict(
            best_params=pick(params, state.best_params),
            best_rest=pick(rest, state.best_rest),
            best_prediction=pick(predicted, state.best_prediction),
            best_uncertainty=pick(unsure, state.best_uncertainty),
            best_score=jnp.where(better, score, state.best_score),
            best_epoch=jnp.where(better, epoch, state.best_epoch),
        )

    def moving(held: Flat) -> Flat:
        if not stage.trains and not stage.freezes:
            return held
        return flat(restricted_to(held.tree, stage.trains, stage.freezes))

    def descend(state: State, trial: Trial, batch: Batch, target: Target):
        """One step: parameters, variables and the optimiser's state behind it, the training loss, and bool [3] whether
        loss, gradients and parameters are finite."""
        (value, rest), grads = jax.value_and_grad(objective, has_aux=True)(state.params, state, trial, batch, target)
        grads = changed(grads, state, trial, batch, target)
        tx = planned.optimizer(trial.numbers)
        updates, opt_state = tx.update(moving(grads), state.opt_state, state.params)
        params = optax.apply_updates(state.params, moving(updates))
        finite = jnp.stack([all_finite(tree) for tree in (value, moving(grads), params)])
        return params, rest, opt_state, value, finite

    def train(state: State, trial: Trial, batch: Batch, whole: Batch, target: Target):
        move = descend if stage.one_pass is None else functools.partial(stage.one_pass, descend)
        params, rest, opt_state, value, finite = move(state, trial, batch, target)
        rest = remembered(params, rest, trial, batch, target)
        evaluation = functools.partial(evaluate, params, rest, state, trial, batch, whole, target)
        if select_every > 1:
            done = state.epoch + 1 - planned.first
            due = (done % select_every == 0) | (done == stage.epochs)
            found = jax.lax.cond(due, evaluation, lambda: skip_evaluation(state))
        else:
            found = evaluation()
        predicted, unsure, val_loss, val_score, new = found
        cause = jnp.select([~ok for ok in finite], [1, 2, 3], 0).astype(jnp.int32)
        state = dataclasses.replace(
            state,
            params=params,
            rest=rest,
            opt_state=opt_state,
            epoch=state.epoch + 1,
            diverged=jnp.where(cause > 0, state.epoch, -1),
            cause=cause,
            snapshots=fill(state.snapshots, planned.slots, state.epoch + 1, params, rest),
            **best_after(state, params, rest, state.epoch, cause == 0, predicted, unsure, new),
        )
        return state, dict(zip(HISTORY, (value, val_loss, val_score), strict=True))

    def evaluate_once(state: State, trial: Trial, batch: Batch, whole: Batch, target: Target):
        rest = remembered(state.params, state.rest, trial, batch, target)
        predicted, unsure, _, _, new = evaluate(state.params, rest, state, trial, batch, whole, target)
        last = jnp.maximum(state.epoch - 1, 0)  # the epoch it stands behind; the first, where there is none
        state = dataclasses.replace(
            state,
            rest=rest,
            snapshots=fill(state.snapshots, planned.slots, state.epoch, state.params, rest),
            **best_after(state, state.params, rest, last, jnp.array(True), predicted, unsure, new),
        )
        return state, {}

    return train if stage.epochs else evaluate_once


def all_finite(tree: Any) -> Array:
    """Whether every number of a pytree is finite."""
    return functools.reduce(jnp.logical_and, [jnp.isfinite(x).all() for x in jax.tree.leaves(tree)], jnp.array(True))


def is_active(state: State, planned: PlannedStage, patience: int, xp: Any = jnp) -> Array:
    """Whether a seed still trains in a stage.

    It does where epochs are left, the score was better within the last `patience` of them (unless the stage keeps its
    last epoch in any case), and it has not diverged.

    Args:
        xp: NumPy for a state that is on the host, which compiles nothing.
    """
    waited = state.epoch - 1 - xp.maximum(state.best_epoch, planned.first)
    patient = (waited < patience) | (planned.stage.keep == "last")
    return (state.epoch < planned.end) & patient & (state.diverged < 0)
