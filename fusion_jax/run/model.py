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
from fusion_jax.training import loop, metrics, optimizers
from fusion_jax.training.build import build_loss, build_model, build_penalty, build_scheme
from fusion_jax.training.checkpoint import Partial
from fusion_jax.training.match import sized
from fusion_jax.training.prepare import Prepared, select_modalities

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
    loss = build_loss(plan.loss, plan.model, data.target)
    hooks = {} if partial is None else dict(restore=partial.restore, at_border=partial.at_border)
    trained = loop.train(
        build or functools.partial(build_model, plan.model, scheme, dims, data.target),
        prepared.init_keys,
        prepared.trials,
        prepared.batch,
        prepared.target,
        scheme.stages(training.epochs),
        functools.partial(optimizer_of, plan),
        loss,
        metrics.selection(training.select, data.target, loss),
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


def at_its_size(plan: Plan, data: Dataset) -> Plan:
    """The plan with the width at which its model has the size that is asked for (`match.sized`)."""
    features, _ = select_modalities(data, plan.data.modalities, plan.data.graph)
    dims = {name: x.shape[1] for name, x in features.items()}
    scheme = build_scheme(plan.scheme)
    model = sized(plan.model, plan.size, lambda part, key: build_model(part, scheme, dims, data.target, key))
    return dataclasses.replace(plan, model=model)
