"""Which numbers of a plan its compiled program is told, and what of the plan is compiled in.

A constant and an argument are not the same to the last bit everywhere: the compiler multiplies constants that meet, and
moves a constant factor past others. So a cell by itself is told only what is known to give the bits that it gives as a
constant (`exact`), and a grid is told all: its trials are chosen among, and none of them is a result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.plan import Plan
from fusion_jax.traced import Numbers, Rate
from fusion_jax.training.trial import Trial

RATE, DECAY, PENALTY = "optimizer.learning_rate", "optimizer.options.weight_decay", "loss.l2"
DROPOUT, EXTRA = "model.rate", "loss.extra"
TOLD = (RATE, DECAY, PENALTY, DROPOUT, EXTRA)  # keys of the config whose numbers a program can be told
_WEIGHT_DECAY = "weight_decay"
# Optimisers after which nothing constant is multiplied to the rate; found by comparing bits (as after rmsprop there is)
_EXACT = ("adam", "adamw", "lamb", "lion", "sgd")


def exact(plan: Plan) -> tuple[str, ...]:
    """Of `TOLD` what a cell by itself is told: what gives the same bits as a constant, whatever the model is.

    What is 0 is left out, so that it is no part of the program.
    """
    own = plan.optimizer
    constant = not (own.warmup or own.decay or own.rate_steps)
    found = [PENALTY] if plan.loss.l2 else []
    if own.name in _EXACT:
        found += [DECAY] if own.options.get(_WEIGHT_DECAY) else []
        found += [] if own.part_rates and constant else [RATE]  # two constants that meet
    return tuple(found)


def in_space(keys: Iterable[str]) -> tuple[str, ...]:
    """Of `TOLD` what the trials of a tuning are told: what its space has."""
    keys = tuple(keys)
    return tuple(told for told in TOLD if any(f"{key}.".startswith(f"{told}.") for key in keys))


def numbers_of(plans: Sequence[Plan], factors: Sequence[float], told: Collection[str]) -> Numbers:
    """The numbers of several plans of one program, leaves [T].

    Args:
        plans: alike in all else (`compiled_in`).
        factors: on the learning rate, of every stage.
        told: of `TOLD`; what is not is compiled in, and the same in all plans.
    """

    def of(plan: Plan) -> Numbers:
        rate, extra = plan.optimizer.learning_rate, plan.loss.extra if EXTRA in told else {}
        return Numbers(
            learning_rate=tuple(np.float32(rate * factor) for factor in factors) if RATE in told else (),
            options={_WEIGHT_DECAY: np.float32(plan.optimizer.options[_WEIGHT_DECAY])} if DECAY in told else {},
            rate=Rate.of(plan.model.rate) if DROPOUT in told else None,
            extra={name: np.float32(weight) for name, weight in extra.items()},
            l2=np.float32(plan.loss.l2) if PENALTY in told else None,
        )

    return jax.tree.map(lambda *a: jnp.stack(a), *map(of, plans))


def with_numbers(trials: Trial, numbers: Numbers, count: int) -> Trial:
    """The trials of every seed [S], told the numbers of T = `count` plans: [T S], those of the first plan first."""
    seeds = len(trials.key)
    tiled = jax.tree.map(lambda x: jnp.concatenate([x] * count), trials)
    return dataclasses.replace(tiled, numbers=jax.tree.map(lambda x: jnp.repeat(x, seeds), numbers))


def compiled_in(plan: Plan, told: Collection[str]) -> Plan:
    """The plan without the numbers that its program is told: equal for plans of one program."""
    optimizer, loss = plan.optimizer, plan.loss
    options = {k: 0.0 if k == _WEIGHT_DECAY and DECAY in told else v for k, v in optimizer.options.items()}
    return dataclasses.replace(
        plan,
        model=dataclasses.replace(plan.model, rate=0.0 if DROPOUT in told else plan.model.rate),
        optimizer=dataclasses.replace(
            optimizer, learning_rate=1.0 if RATE in told else optimizer.learning_rate, options=options
        ),
        loss=dataclasses.replace(
            loss,
            l2=0.0 if PENALTY in told else loss.l2,
            extra=dict.fromkeys(loss.extra, 1.0) if EXTRA in told else loss.extra,
        ),
    )
