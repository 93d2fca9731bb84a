"""The optimiser of a config: a factory of optax by its name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fusion_jax.training.flat import on_trees
from fusion_jax.zoo import nearest

# What they do to a parameter depends on no other, so that parameters may be handed to them as vectors
ELEMENTWISE = (
    "adabelief",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamaxw",
    "adamw",
    "amsgrad",
    "lion",
    "radam",
    "rmsprop",
    "sgd",
    "sign_sgd",
    "yogi",
)


def make(
    name: str,
    learning_rate: float,
    *,
    options: dict[str, Any] | None = None,
    clip: float = 0.0,
    warmup: int = 0,
    decay: bool = False,
    rate_steps: Sequence[Sequence[float]] = (),
    part_rates: Mapping[str, float] | None = None,
    epochs: int,
    steps: int = 1,
) -> optax.GradientTransformation:
    """`optax.<name>(schedule, **options)`, after clipping the gradient's global norm if `clip` > 0.

    The schedule rises linearly to `learning_rate` over `warmup` epochs, then is constant or falls as a cosine
    to 0 at `epochs`. `rate_steps`, pairs (epoch, factor), multiply it from that epoch on; `part_rates` multiply the
    updates of parts of the model, {name of the model's attribute: factor}. With several `steps` an epoch the
    rate is the same in all of them.

    Raises:
        ValueError: no such optimiser, no such option of it; at the first update, no such part of the model.
    """
    options = dict(options or {})
    factory = _factory(name)
    known = inspect.signature(factory).parameters
    for option in options:
        if option not in known:
            raise ValueError(f"optimiser {name!r} has no option {option!r}{nearest(option, known)}")
    schedule = learning_rate
    if decay:
        schedule = optax.cosine_decay_schedule(learning_rate, max(epochs - warmup, 1))
    if warmup:
        after = schedule if decay else optax.constant_schedule(learning_rate)
        schedule = optax.join_schedules([optax.linear_schedule(0.0, learning_rate, warmup), after], [warmup])
    if rate_steps:
        schedule = stepped(schedule if callable(schedule) else optax.constant_schedule(learning_rate), rate_steps)
    if steps > 1 and callable(schedule):
        schedule = _of_epochs(schedule, steps)
    chain = [optax.clip_by_global_norm(clip)] if clip else []
    own = factory(schedule, **options)
    chain.append(own if name in ELEMENTWISE else on_trees(own))
    if part_rates:
        chain.append(on_trees(optax.stateless(lambda updates, params: scale_parts(updates, part_rates))))
    return optax.chain(*chain) if len(chain) > 1 else chain[0]


def defaults(name: str) -> dict[str, Any]:
    """The keywords of an optimiser with their defaults, None where there is none.

    Raises:
        ValueError: no such optimiser.
    """
    known = inspect.signature(_factory(name)).parameters
    return {k: None if p.default is p.empty else p.default for k, p in known.items()}


def _factory(name: str):
    factories = [
        n
        for n, f in vars(optax).items()
        if inspect.isfunction(f) and "learning_rate" in inspect.signature(f).parameters
    ]
    if name not in factories:
        raise ValueError(f"no optimiser {name!r}{nearest(name, factories)}; expected a factory of optax")
    return getattr(optax, name)


def _of_epochs(schedule: optax.Schedule, steps: int) -> optax.Schedule:
    """The schedule of epochs, asked at a step."""
    return lambda count: schedule(count // steps)


def stepped(schedule: optax.Schedule, steps: Sequence[Sequence[float]]) -> optax.Schedule:
    """The schedule times every factor whose epoch has come."""

    def rate(count):
        value = schedule(count)
        for epoch, factor in steps:
            value = value * jnp.where(count >= epoch, factor, 1.0)
        return value

    return rate


def scale_parts(updates: Any, factors: Mapping[str, float]) -> Any:
    """The updates, those below each named top-level key multiplied by its factor.

    Raises:
        ValueError: a key the updates do not have.
    """

    def part(path):
        return jax.tree_util.keystr(path[:1], simple=True)

    known = sorted({part(path) for path, _ in jax.tree_util.tree_leaves_with_path(updates)})
    for name in factors:
        if name not in known:
            near = nearest(name, known)
            raise ValueError(f"optimizer.part_rates: the model has no part {name!r}{near}; it has: {', '.join(known)}")
    return jax.tree_util.tree_map_with_path(lambda path, u: u * factors.get(part(path), 1.0), updates)
