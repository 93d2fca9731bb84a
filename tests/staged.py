"""The loop on a model that compiles in no time: a layer of two experts and a head, trained in given stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.data import Dataset
from fusion_jax.records import EVALUATION, Batch, Context, Output
from fusion_jax.schemes.base import Stage
from fusion_jax.tasks.classes import accuracy_then_loss
from fusion_jax.training import loop, optimizers, stopping
from fusion_jax.training.build import build_loss
from fusion_jax.training.checkpoint import Partial
from fusion_jax.training.prepare import Prepared
from tests import tiny

ROWS, WIDTH, CLASSES = 60, 4, 2


class Linear(nnx.Module):
    def __init__(self, key: jax.Array, inputs: int, outputs: int):
        self.kernel = nnx.Param(0.5 * jax.random.normal(key, (inputs, outputs), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.kernel[...]


class Net(nnx.Module):
    """head(mean of tanh(expert(x))) on all modalities side by side; `notes` [N] is for a stage to write into."""

    def __init__(self, key: jax.Array):
        first, second, third = jax.random.split(key, 3)
        self.experts = nnx.List([Linear(first, 12, WIDTH), Linear(second, 12, WIDTH)])
        self.head = Linear(third, WIDTH, CLASSES)
        self.notes = nnx.BatchStat(jnp.zeros(ROWS, jnp.float32))

    def states(self, batch: Batch) -> jax.Array:
        """[N, D], what the head reads."""
        x = jnp.concatenate(list(batch.features.values()), axis=1)
        return sum(jnp.tanh(expert(x)) for expert in self.experts) / 2

    def __call__(self, batch: Batch, *, context: Context = EVALUATION) -> Output:
        hidden = self.states(batch)
        if context.key is not None:  # so that the key of a step shows in its loss
            hidden = hidden * jax.random.bernoulli(context.key, 0.8, hidden.shape).astype(hidden.dtype)
        return Output(self.head(hidden), None, hidden[:, None], hidden, batch.mask)


def prepared(data: Dataset, seeds: Sequence[int] = (0, 1), **changes: Any) -> Prepared:
    return tiny.prepared(tiny.cell(**changes).plan, data, tuple(seeds))


def ever_worse(output, target, weight, context):
    """A score whose best epoch is the first of every stage."""
    del target, weight
    return -context.step + 0 * output.prediction[0, 0]


def train(
    ready: Prepared,
    stages: Sequence[Stage],
    hooks: Any = None,
    *,
    score: Any = None,
    patience: int = 50,
    chunk: int = 3,
    optimizer: dict[str, Any] | None = None,
    seed_axis: str = "map",
    **options: Any,
) -> loop.Trained:
    """`loop.train` of `Net`; `options` are those of the loop."""
    plan = tiny.cell().plan
    loss = build_loss(plan.loss, plan.model, ready.target)
    given = dict(name="adamw", learning_rate=0.05, options=dict(weight_decay=0.1)) | (optimizer or {})
    hooks = {} if hooks is None else dict(restore=hooks.restore, at_border=hooks.at_border)

    def make(place: int, epochs: int, numbers: None):
        own = dict(learning_rate=given["learning_rate"] * stages[place].rate)
        return optimizers.make(**{**given, **own}, epochs=epochs)

    return loop.train(
        [Net(key) for key in ready.init_keys],
        ready.trials,
        ready.batch,
        ready.target,
        stages,
        make,
        loss,
        score or accuracy_then_loss(loss),
        patience=patience,
        chunk=chunk,
        seed_axis=seed_axis,
        **options,
        **hooks,
    )


class SavedEverywhere:
    """Hooks that save at every border, each in a folder of its own: `at(n)` goes on from the nth."""

    def __init__(self, folder):
        self.folder, self.borders = folder, []

    def restore(self, state):
        return None

    def at_border(self, state, history):
        Partial(self.folder / str(len(self.borders)), every=0.0).at_border(state, history)
        self.borders.append(np.asarray(state.epoch).tolist())

    def at(self, n: int) -> Partial:
        return Partial(self.folder / str(n), every=1e6)


def equal(a: Any, b: Any) -> bool:
    """Whether two pytrees are the same to the bit."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True) for x, y in pairs)


def close(a: Any, b: Any) -> bool:
    """Whether two pytrees are the same but for rounding."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.allclose(x, y, rtol=1e-3, atol=1e-4) for x, y in pairs)


def result(trained: loop.Trained) -> tuple:
    """All of it but what was measured."""
    kept = (trained.params, trained.rest, trained.history, trained.best_epoch, trained.prediction, trained.snapshots)
    return kept


def of_seed(tree: Any, i: int) -> Any:
    return jax.tree.map(lambda a: a[i], tree)


class Interrupted(Partial):
    """Saves at its first border and ends there, as where somebody asks it to stop."""

    def at_border(self, state, history):
        stopping.ask()
        try:
            super().at_border(state, history)
        finally:
            stopping.forget()
