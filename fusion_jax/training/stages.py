"""The stages of a run as the loop goes through them, and what a stage's `begin` does to the model of one seed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from fusion_jax.records import Array, Batch, Target
from fusion_jax.schemes.base import Stage, TrainingLoss
from fusion_jax.traced import Numbers
from fusion_jax.training.parts import leaf_names
from fusion_jax.training.snapshots import asked_for, slots_of

# (place of a stage, number of epochs its schedule is over, what training is told in numbers) -> its optimiser
Optimizer = Callable[[int, int, Numbers | None], optax.GradientTransformation]


@dataclasses.dataclass(frozen=True)
class PlannedStage:
    """A stage in its place in a run.

    Attributes:
        stage, place: which one it is; the first has place 0.
        first, end: its first epoch, and the one behind its last, counted from the start of the first stage.
        total: the epochs of all stages together.
        optimizer: what training is told in numbers -> its optimiser.
        slots: [K], the snapshots it takes, see `snapshots.slots_of`.
    """

    stage: Stage
    place: int
    first: int
    end: int
    total: int
    optimizer: Callable[[Numbers | None], optax.GradientTransformation]
    slots: tuple[int, ...] = ()


def plan(stages: Sequence[Stage], optimizer: Optimizer, snapshots: int = 0) -> list[PlannedStage]:
    """Every stage in its place.

    Args:
        optimizer: see `Optimizer`.
        snapshots: so many besides those the stages ask for, see `snapshots.asked_for`.
    """
    planned, first, total = [], 0, sum(stage.epochs for stage in stages)
    for place, (stage, slots) in enumerate(zip(stages, slots_of(asked_for(stages, snapshots)), strict=True)):
        own = functools.partial(optimizer, place, _schedule_length(stages, place))
        planned.append(PlannedStage(stage, place, first, first + stage.epochs, total, own, slots))
        first += stage.epochs
    return planned


def _schedule_length(stages: Sequence[Stage], place: int) -> int:
    """The epochs of all stages that share the optimiser of one."""
    begin, end = place, place + 1
    while begin > 0 and stages[begin].same_optimizer:
        begin -= 1
    while end < len(stages) and stages[end].same_optimizer:
        end += 1
    return sum(stage.epochs for stage in stages[begin:end])


def begun(
    planned: PlannedStage,
    graphdef: Any,
    params: Any,
    rest: Any,
    batch: Batch,
    target: Target,
    weight: Array,
    loss: TrainingLoss,
    key: Array,
) -> tuple[Any, Any]:
    """The parameters and variables of one seed after the stage's `begin`, which sees what is passed on here.

    Raises:
        ValueError: `begin` changed more of the model than values; names what.
    """
    model = nnx.merge(graphdef, params, rest, copy=True)
    planned.stage.begin(model, batch, target, weight, loss, key)
    structure, *found = nnx.split(model, nnx.Param, ...)
    return _values((structure, found), (graphdef, [params, rest]), f"stage {planned.place + 1}: begin")


def _values(found: tuple[Any, list], expected: tuple[Any, list], who: str) -> tuple[Any, Any]:
    """The values found, as arrays in the form that is expected."""
    new, old = (dict(zip(leaf_names(trees), jax.tree.leaves(trees), strict=True)) for _, trees in (found, expected))

    def short(names):
        return sorted(name.partition(".")[2] for name in names)  # without the place in [params, rest]

    if set(new) != set(old):
        added, removed = short(set(new) - set(old)), short(set(old) - set(new))
        raise ValueError(f"{who} added {added} to the model and removed {removed}; expected other values only")
    new = {name: jnp.asarray(x) for name, x in new.items()}
    for name, x in new.items():
        is_now, was = (f"{a.dtype} {list(a.shape)}" for a in (x, old[name]))
        if is_now != was:
            raise ValueError(f"{who} made {short([name])[0]} {is_now}, which was {was}; expected other values only")
    if found[0] != expected[0]:
        raise ValueError(f"{who} changed how the model is built (its modules, or what is static in them)")
    leaves = [jnp.asarray(new[name], x.dtype) for name, x in old.items()]
    return tuple(jax.tree.unflatten(jax.tree.structure(expected[1]), leaves))
