"""One model, trained for every seed: the plan's parts handed to the rooms that make them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
import optax

from fusion_jax.data.base import Dataset
from fusion_jax.model import Model
from fusion_jax.plan import Plan
from fusion_jax.run.begin import begin
from fusion_jax.training import loop, optimizers
from fusion_jax.training.build import build_loss, build_model, build_penalty, build_scheme
from fusion_jax.training.checkpoint import Partial
from fusion_jax.training.derived import structures_of, with_structures
from fusion_jax.training.prepare import Prepared
from fusion_jax.training.selection import selection

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
    scheme, training = build_scheme(plan.scheme), plan.training
    dims = {name: x.shape[1] for name, x in prepared.batch.features.items()}
    build = build or functools.partial(build_model, plan.model, scheme, dims, data.target)
    # One after another outside jit: their small random programs are the same for every cell of a study, so they are
    # compiled once a process, while one program for all seeds would be compiled anew for every cell.
    models = [build(key) for key in prepared.init_keys]
    prepared = with_structures(prepared, *structures_of(models[0]))
    begin(models, prepared)
    loss = build_loss(plan.loss, plan.model, data.target)
    hooks = {} if partial is None else dict(restore=partial.restore, at_border=partial.at_border)
    trained = loop.train(
        models,
        prepared.trials,
        prepared.batch,
        prepared.target,
        scheme.stages(training.epochs),
        functools.partial(optimizer_of, plan),
        loss,
        selection(training.select, data.target, loss),
        patience=training.patience,
        chunk=training.chunk,
        select_on_whole=plan.protocol == "paper",
        select_every=training.select_every,
        penalty=build_penalty(plan.loss),
        seed_axis=training.seed_axis,
        snapshots=training.snapshots,
        **hooks,
    )
    own = [prepared.own_units(prediction, i) for i, prediction in enumerate(trained.prediction)]
    return dataclasses.replace(trained, prediction=np.stack(own))


def optimizer_of(plan: Plan, factor: float, epochs: int) -> optax.GradientTransformation:
    """The plan's optimiser over so many epochs, at a factor of its learning rate."""
    own = {**vars(plan.optimizer), "learning_rate": plan.optimizer.learning_rate * factor}
    return optimizers.make(**own, epochs=epochs)
