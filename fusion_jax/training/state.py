"""What of a seed moves while it trains."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fusion_jax.records import Array
from fusion_jax.training.flat import Flat

CAUSES = ("", "training loss", "gradient", "parameters")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """What moves: parameters (as vectors), statistics, optimiser; the best so far and what it predicts; how far we are.

    `best_uncertainty` [N] is NaN throughout where the model states none: the saved state has one form for all.
    `diverged` is the epoch at which the training loss, its gradient or the updated parameters were not finite, -1
    before that; `cause` says which of them (a place in `CAUSES`). A seed that has diverged trains no further.
    `snapshots` is the buffer of what is kept on the way (see the file of that name), () where nothing is.
    """

    params: Flat
    rest: Any
    opt_state: Any
    best_params: Flat
    best_rest: Any
    best_prediction: Array
    best_uncertainty: Array
    best_score: Array
    best_epoch: Array
    epoch: Array
    diverged: Array
    cause: Array
    snapshots: Any = ()


def initial_state(
    params: Flat,
    rest: Any,
    tx: optax.GradientTransformation,
    rows: int,
    outputs: int,
    epoch: int = 0,
    snapshots: Any = (),
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
        snapshots,
    )
