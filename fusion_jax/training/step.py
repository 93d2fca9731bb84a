"""One training epoch of one seed: a full-batch gradient step, then a look at the validation rows.

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

from fusion_jax.graphs import Graph
from fusion_jax.records import Array, Batch, Output, Target
from fusion_jax.schemes.base import Stage
from fusion_jax.training.selection import readable

CAUSES = ("", "training loss", "gradient", "parameters")
LossFn = Callable[[Output, Target, Array, Array], Array]  # output, target, weight [N], step -> scalar
Penalty = Callable[[Any], Array]  # parameters -> scalar


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trial:
    """What is fixed for one seed.

    Attributes:
        key: the randomness of dropout and sampling.
        shift, scale: {modality: [d_m]}; a model sees (x - shift) * scale, fitted on training rows.
        train_weight: float [N], the weight of each training row in the loss, 0 elsewhere.
        val_weight: float [N], 1 on the rows that select the model, 0 elsewhere.
        graph, mask: the edge set and the present modalities of training, where they are the seed's own
            (inductive setting: what test nodes have is not there yet), else None.
        evaluated: the edge set of evaluation where it is the seed's own, over N + 1 nodes (`inductive.Grown`), or None.
        known: bool [M], false for a modality that no training row has: it counts as missing everywhere, in
            evaluation too. None where training rows have all.
    """

    key: Array
    shift: dict[str, Array]
    scale: dict[str, Array]
    train_weight: Array
    val_weight: Array
    graph: Graph | None = None
    mask: Array | None = None
    evaluated: Graph | None = None
    known: Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """What moves: parameters, statistics, optimiser; the best so far and what it predicts; how far we are.

    `best_uncertainty` [N] is NaN throughout where the model states none: the saved state has one form for all.
    `diverged` is the epoch at which the training loss, its gradient or the updated parameters were not finite, -1
    before that; `cause` says which of them (a place in `CAUSES`). A seed that has diverged trains no further.
    """

    params: Any
    rest: Any
    opt_state: Any
    best_params: Any
    best_rest: Any
    best_prediction: Array
    best_uncertainty: Array
    best_score: Array
    best_epoch: Array
    epoch: Array
    diverged: Array
    cause: Array


def scaled(batch: Batch, trial: Trial) -> Batch:
    """The batch as the seed's model sees it in training: its scaler, and its own edge set and mask if it has them."""
    mask = batch.mask if trial.mask is None else trial.mask
    mask = mask if trial.known is None else mask & trial.known
    features = {
        name: jnp.where(mask[:, i, None], (x - trial.shift[name]) * trial.scale[name], 0)
        for i, (name, x) in enumerate(batch.features.items())
    }
    return Batch(features, mask, batch.graph if trial.graph is None else trial.graph)


def whole(batch: Batch, trial: Trial) -> Batch:
    """The batch as the seed's model sees it in evaluation: all that its nodes have, and its own edge set if it has one.

    Such an edge set has a last node that stands for no row of the data: a row without modalities is added.
    """
    batch = scaled(batch, dataclasses.replace(trial, graph=None, mask=None))
    if trial.evaluated is None:
        return batch
    features, mask = jax.tree.map(lambda x: jnp.concatenate([x, jnp.zeros_like(x[:1])]), (batch.features, batch.mask))
    return dataclasses.replace(batch, features=features, mask=mask, graph=trial.evaluated)


def first_rows(output: Output, rows: int) -> Output:
    """The output without the rows behind the first `rows`, which stand for nothing."""
    if len(output.prediction) == rows:
        return output
    kept = ("prediction", "streams", "embeddings", "hidden", "mask", "uncertainty", "present")
    held = {name: getattr(output, name) for name in kept}
    return dataclasses.replace(output, **{k: None if v is None else v[:rows] for k, v in held.items()})


def initial_state(
    params: Any, rest: Any, tx: optax.GradientTransformation, rows: int, outputs: int, epoch: int = 0
) -> State:
    """The state before the first epoch of a stage, which is `epoch`; predictions are [rows, outputs]."""
    return State(
        params,
        rest,
        tx.init(params),
        params,
        rest,
        jnp.full((rows, outputs), jnp.nan, jnp.float32),
        jnp.full(rows, jnp.nan, jnp.float32),
        jnp.array(-jnp.inf, jnp.complex64),
        jnp.array(-1, jnp.int32),
        jnp.array(epoch, jnp.int32),
        jnp.array(-1, jnp.int32),
        jnp.array(0, jnp.int32),
    )


def make_epoch(
    graphdef: Any,
    tx: optax.GradientTransformation,
    loss: LossFn,
    score: LossFn,
    stage: Stage,
    patience: int,
    begin: int,
    select_on_whole: bool = False,
    select_every: int = 1,
    penalty: Penalty | None = None,
) -> Callable[[State, Trial, Batch, Batch, Target], tuple[State, dict[str, Array]]]:
    """The function one epoch is: (state, trial, batch of training, whole batch, target) -> state, history.

    The two batches differ in the inductive setting, or where evaluation has other edges: selection looks at the
    first, predictions come from the second.

    Args:
        loss: the training loss (without the losses mechanisms add, which are added here).
        score: larger is better, on the validation rows; a complex one is compared by its real part first.
        stage: what is trained, on what and how (a scheme's hook); its first epoch is `begin`.
        select_on_whole: selection looks at the second batch too (protocol `paper`, which selects on test rows).
        select_every: selection looks at every so many epochs, and at the stage's last.
        penalty: added to the training loss of every stage; selection does not see it.
    """

    def objective(params, state: State, trial: Trial, batch: Batch, target: Target):
        key = jax.random.fold_in(trial.key, state.epoch)
        scheme_key, model_key = jax.random.split(key)
        model = nnx.merge(graphdef, params, state.rest, copy=True)
        output = stage.forward(model, stage.transform(batch, scheme_key), key=model_key)
        if stage.loss is None:
            value = loss(output, target, trial.train_weight, state.epoch)
        else:
            loss_key = jax.random.fold_in(key, 2)  # 0 and 1 are the two keys of the split
            value = stage.loss(model, output, target, trial.train_weight, state.epoch, loss_key)
        value = value + sum(output.losses.values(), 0.0)
        if penalty is not None:
            value = value + penalty(params)
        return value, nnx.split(model, nnx.Param, ...)[2]

    def look(params, rest, state: State, trial: Trial, batch: Batch, whole: Batch, target: Target):
        model = nnx.merge(graphdef, params, rest, copy=True)
        rows = len(trial.val_weight)
        output = first_rows(stage.forward(model, whole if select_on_whole else batch), rows)
        same = select_on_whole or whole is batch
        shown = output if same else first_rows(stage.forward(model, whole), rows)
        unsure = state.best_uncertainty if shown.uncertainty is None else shown.uncertainty
        val_loss = loss(output, target, trial.val_weight, state.epoch)
        new = score(output, target, trial.val_weight, state.epoch)
        seen = (shown.prediction, unsure, val_loss, readable(new))
        return *(a.astype(jnp.float32) for a in seen), new.astype(jnp.complex64)

    def unseen(state: State):
        nan = jnp.array(jnp.nan, jnp.float32)
        never = nan.astype(jnp.complex64)  # a score that is no number is never better
        return state.best_prediction, state.best_uncertainty, nan, nan, never

    def train(state: State, trial: Trial, batch: Batch, whole: Batch, target: Target):
        (value, rest), grads = jax.value_and_grad(objective, has_aux=True)(state.params, state, trial, batch, target)
        updates, opt_state = tx.update(only(grads, stage.trains), state.opt_state, state.params)
        params = optax.apply_updates(state.params, only(updates, stage.trains))
        if stage.remember is not None:
            model = nnx.merge(graphdef, params, rest, copy=True)
            stage.remember(model, batch, target, trial.train_weight)
            rest = nnx.split(model, nnx.Param, ...)[2]
        seen = functools.partial(look, params, rest, state, trial, batch, whole, target)
        if select_every > 1:
            done = state.epoch + 1 - begin
            due = (done % select_every == 0) | (done == stage.epochs)
            predicted, unsure, val_loss, val_score, new = jax.lax.cond(due, seen, lambda: unseen(state))
        else:
            predicted, unsure, val_loss, val_score, new = seen()
        finite = [all_finite(tree) for tree in (value, only(grads, stage.trains), params)]
        cause = jnp.select([~ok for ok in finite], [1, 2, 3], 0).astype(jnp.int32)
        better = (new > state.best_score) & (cause == 0)  # false for NaN: a diverged epoch is never the best

        def pick(a, b):
            return jax.tree.map(lambda x, y: jnp.where(better, x, y), a, b)

        state = State(
            params,
            rest,
            opt_state,
            pick(params, state.best_params),
            pick(rest, state.best_rest),
            pick(predicted, state.best_prediction),
            pick(unsure, state.best_uncertainty),
            jnp.where(better, new, state.best_score),
            jnp.where(better, state.epoch, state.best_epoch),
            state.epoch + 1,
            jnp.where(cause > 0, state.epoch, -1),
            cause,
        )
        return state, dict(train_loss=value, val_loss=val_loss, val_score=val_score)

    def epoch(state: State, trial: Trial, batch: Batch, whole: Batch, target: Target):
        nothing = jnp.array(jnp.nan, jnp.float32)
        skipped = dict(train_loss=nothing, val_loss=nothing, val_score=nothing)
        return jax.lax.cond(
            is_active(state, patience, begin + stage.epochs, begin),
            lambda s: train(s, trial, batch, whole, target),
            lambda s: (s, skipped),
            state,
        )

    return epoch


def all_finite(tree: Any) -> Array:
    """Whether every number of a pytree is finite."""
    return functools.reduce(jnp.logical_and, [jnp.isfinite(x).all() for x in jax.tree.leaves(tree)], jnp.array(True))


def only(tree: Any, parts: tuple[str, ...]) -> Any:
    """The gradients or updates with 0 outside the named top-level parts of the model; as they are with ()."""
    if not parts:
        return tree

    def name(path):
        return jax.tree_util.keystr(path[:1], simple=True)

    known = {name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)}
    if missing := sorted(set(parts) - known):
        raise ValueError(f"a stage trains {missing}, the model has the parts {sorted(known)}")

    def keep(path, x):
        return x if name(path) in parts else jnp.zeros_like(x)

    return jax.tree_util.tree_map_with_path(keep, tree)


def is_active(state: State, patience: int, epochs: int, begin: int = 0) -> Array:
    """Whether a seed still trains in a stage from epoch `begin` to `epochs`.

    It does where epochs are left, the score was better within the last `patience` of them, and it has not diverged.
    """
    waited = state.epoch - 1 - jnp.maximum(state.best_epoch, begin)
    return (state.epoch < epochs) & (waited < patience) & (state.diverged < 0)
