"""A model, trained for every seed: the plan's parts handed to the rooms that make them."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fusion_jax.data.base import Dataset
from fusion_jax.model import Model
from fusion_jax.plan import Plan
from fusion_jax.run.begin import begin, begins
from fusion_jax.run.pod import together
from fusion_jax.schemes.base import Stage
from fusion_jax.traced import Numbers
from fusion_jax.training import loop, optimizers, programs, sampled, stopping
from fusion_jax.training.build import build_loss, build_model, build_penalty, build_scheme
from fusion_jax.training.checkpoint import Partial
from fusion_jax.training.derived import check_graph, structures_of, with_structures
from fusion_jax.training.node_seats import NodeSeats, node_seats
from fusion_jax.training.numbers import PENALTY, TOLD, compiled_in, exact, numbers_of, with_numbers
from fusion_jax.training.partable import check_partable
from fusion_jax.training.prepare import Prepared
from fusion_jax.training.selection import selection
from fusion_jax.training.sharding import spread
from fusion_jax.training.state import State

Build = Callable[[jax.Array], Model]  # key -> model


def train_model(
    plan: Plan, data: Dataset, prepared: Prepared, partial: Partial | None = None, build: Build | None = None
) -> loop.Trained:
    """Trains the prepared seeds, from `build(key)` where it is given, else from initial values.

    A regression target is learned in standardised units (`Prepared.units`): so are the losses of the history and what
    the models return. The predictions that come back are in the target's own.

    Raises:
        ValueError: whatever of the plan does not fit the data set.
    """
    return train_models([plan], data, prepared, partial, build, told=exact(plan))


def train_models(
    plans: Sequence[Plan],
    data: Dataset,
    prepared: Prepared,
    partial: Partial | None = None,
    build: Build | None = None,
    told: Collection[str] = TOLD,
) -> loop.Trained:
    """Trains the prepared seeds of several plans in one program, [T S]: those of the first plan, of the second, ...

    Args:
        told: the numbers that are arguments of the program (`training.numbers`); the plans differ in no others.
    Raises:
        ValueError: as `train_model`; the plans differ in more than the numbers that a program is told.
    """
    programs.spare()
    plan, scheme = plans[0], build_scheme(plans[0].scheme)
    static = compiled_in(plan, told)
    if any(compiled_in(other, told) != static for other in plans):
        raise ValueError(f"{len(plans)} plans differ in more than numbers, expected plans of one program")
    training, stages = plan.training, scheme.stages(plan.training.epochs)
    dims = {name: x.shape[1] for name, x in prepared.batch.features.items()}

    def made(plan: Plan) -> list[Model]:
        own = build or functools.partial(build_model, plan.model, scheme, dims, data.target)
        # One after another outside jit: their small random programs are the same for every cell of a study, so they
        # are compiled once a process, while one program for all seeds would be compiled anew for every cell.
        return [own(key) for key in prepared.init_keys]

    models = made(plan)
    check_graph(models[0], prepared)
    nodes = None
    if training.node_devices:
        check_partable(models[0], prepared, scheme)
        nodes = node_seats(len(plans) * len(models), prepared.batch, training.node_devices)
    prepared = with_structures(prepared, *structures_of(models[0]))
    steps, sizes = 1, ()
    if training.batch:
        sampled.check(plan, models[0], prepared, stages, data.target)
        prepared, stages, sizes = sampled.sampled(plan, models[0], prepared, stages)
        steps, _ = sizes
    # what is written before training may depend on a plan's numbers; initial values do not
    groups = [models, *(made(other) if begins(models[0]) else models for other in plans[1:])]
    for own in groups if begins(models[0]) else []:
        begin(own, prepared)
    loss = build_loss(plan.loss, plan.model, data.target)
    # a strength that is told may be 0 in this plan and not in another one
    penalty = build_penalty(dataclasses.replace(plan.loss, l2=1.0) if PENALTY in told else plan.loss)
    hooks = dict(at_border=_unsaved) if partial is None else dict(restore=partial.restore, at_border=partial.at_border)
    alone = build is not None or spread(models[0]) or nodes is not None
    with (
        _turn(nodes),
        nullcontext(hooks) if alone else together(plans, data, prepared.seeds, told, partial, hooks) as hooks,
    ):
        trained = loop.train(
            [model for own in groups for model in own],
            with_numbers(prepared.trials, numbers_of(plans, [stage.rate for stage in stages], told), len(plans)),
            prepared.batch,
            jax.tree.map(lambda x: jnp.concatenate([x] * len(plans)), prepared.target),
            stages,
            functools.partial(optimizer_of, plan, stages, steps),
            loss,
            selection(training.select, data.target, loss),
            patience=training.patience,
            chunk=training.chunk,
            select_on_whole=plan.protocol == "paper",
            select_every=training.select_every,
            penalty=penalty,
            seed_axis=training.seed_axis,
            snapshots=training.snapshots,
            nodes=nodes,
            alike_to=None if build else (repr(static), tuple(told), data.fingerprint, sizes),
            **hooks,
        )
    seeds = len(prepared.seeds)
    own = [prepared.own_units(prediction, i % seeds) for i, prediction in enumerate(trained.prediction)]
    # of loops within an epoch the compiler counts one batch and one block: that is no figure of an epoch
    cost = {**trained.cost, "flops": 0.0} if training.batch else trained.cost
    return dataclasses.replace(trained, prediction=np.stack(own), cost=cost)


_TURN = threading.Lock()


def _turn(nodes: NodeSeats | None) -> AbstractContextManager:
    """One training over several devices at a time: two would wait for each other's exchange, each on other devices."""
    return nullcontext() if nodes is None else _TURN


def optimizer_of(
    plan: Plan, stages: Sequence[Stage], steps: int, place: int, epochs: int, numbers: Numbers
) -> optax.GradientTransformation:
    """The plan's optimiser in the stage at that place, over so many epochs of so many steps; numbers that are not told
    are its own."""
    own, told = plan.optimizer, numbers.learning_rate
    rate = told[place] if told else own.learning_rate * stages[place].rate
    made = dict(learning_rate=rate, options={**own.options, **numbers.options})
    return optimizers.make(**{**vars(own), **made}, epochs=epochs, steps=steps)


def _unsaved(state: State, history: list) -> None:
    """At the border of a training that is not saved, such as a trial of a tuning: it is repeated."""
    del state, history
    stopping.check()
