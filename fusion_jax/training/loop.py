"""All seeds of a cell in one compiled program: `lax.scan` over a chunk of epochs, mapped over the seeds.

The host looks in between chunks: progress, checkpoints, and whether every seed has stopped. The seed axis is
`vmap` on accelerators and `lax.map` on a CPU, where batched small matrices lose to one seed after another and
a stopped seed costs nothing.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from fusion_jax.training import sharding
from fusion_jax.training.step import LossFn, State, Trial, initial_state, is_active, make_epoch, scaled
from fusion_jax.types import Batch, Target


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained cell.

    Attributes:
        graphdef: with `params` and `rest` of one seed gives the model (`nnx.merge`).
        params, rest: best parameters and statistics of every seed, [S, ...].
        history: {name: float [S, T]}, NaN after a seed has stopped.
        best_epoch: int [S].
        prediction: float32 [S, N, C], of the whole batch at the best epoch.
        cost: parameters, flops and peak_bytes of the training program (the compiler's own figures, for one
            epoch), compile_seconds, train_seconds.
    """

    graphdef: Any
    params: Any
    rest: Any
    history: dict[str, np.ndarray]
    best_epoch: np.ndarray
    prediction: np.ndarray
    cost: dict[str, float]


def map_seeds(fn: Callable, axis: str) -> Callable:
    """fn(*args of one seed) lifted to a leading seed axis, by "vmap" or by "map" (one seed after another)."""
    if axis == "auto":
        axis = "map" if jax.default_backend() == "cpu" and jax.local_device_count() == 1 else "vmap"
    if axis == "vmap":
        return jax.vmap(fn)
    if axis == "map":
        return lambda *args: jax.lax.map(lambda t: fn(*t), args)
    raise ValueError(f"training.seed_axis={axis!r}; expected 'auto', 'vmap' or 'map'")


def train(
    build: Callable[[jax.Array], nnx.Module],
    init_keys: jax.Array,
    trials: Trial,
    batch: Batch,
    target: Target,
    tx: optax.GradientTransformation,
    loss: LossFn,
    score: LossFn,
    *,
    epochs: int,
    patience: int,
    chunk: int,
    transform: Callable | None = None,
    select_on_whole: bool = False,
    seed_axis: str = "auto",
    restore: Callable[[State], tuple[State, list] | None] = lambda state: None,
    at_border: Callable[[State, list[dict]], None] = lambda state, history: None,
) -> Trained:
    """Trains every seed until its validation score stops rising, and predicts with each seed's best epoch.

    Args:
        build: key -> model; called once a seed, inside a `vmap`.
        init_keys: [S] keys; trials, target: leaves [S, ...].
        target: labels of rows that must not be seen are 0 here, and have weight 0 in `trials`.
        select_on_whole: see `step.make_epoch`.
        restore: given a fresh state, the state and history of an interrupted run, or None.
        at_border: called after each chunk with the state and the history chunks so far.
    """
    chunk = min(chunk, epochs)
    graphdef, state = _initial(build, init_keys, tx, len(trials.val_weight[0]), target.num_outputs)
    state, trials, target = sharding.shard_seeds((state, trials, target))
    epoch = make_epoch(graphdef, tx, loss, score, transform or identity, patience, epochs, select_on_whole)

    def run_chunk(states: State, trials: Trial, batch: Batch, target: Target):
        def one(state: State, trial: Trial, target: Target):
            seen = scaled(batch, trial)
            own = trial.graph is not None or trial.mask is not None
            whole = scaled(batch, dataclasses.replace(trial, graph=None, mask=None)) if own else seen
            return jax.lax.scan(lambda s, _: epoch(s, trial, seen, whole, target), state, None, length=chunk)

        return map_seeds(one, seed_axis)(states, trials, target)

    start = time.perf_counter()
    compiled = jax.jit(run_chunk, donate_argnums=0).lower(state, trials, batch, target).compile()
    compile_seconds = time.perf_counter() - start

    restored = restore(state)
    state, history = restored if restored is not None else (state, [])
    start = time.perf_counter()
    while bool(np.any(np.asarray(is_active(state, patience, epochs)))):
        state, logs = compiled(state, trials, batch, target)
        history.append(jax.tree.map(np.asarray, logs))
        at_border(state, history)
    train_seconds = time.perf_counter() - start

    joined = {k: np.concatenate([h[k] for h in history], axis=1)[:, :epochs] for k in history[0]}
    return Trained(
        graphdef, state.best_params, state.best_rest, joined, np.asarray(state.best_epoch),
        np.asarray(state.best_prediction),
        dict(**cost(compiled, state.params), compile_seconds=compile_seconds, train_seconds=train_seconds),
    )  # fmt: skip


def _initial(build, init_keys: jax.Array, tx: optax.GradientTransformation, rows: int, outputs: int):
    """The graph definition, and the initial state of every seed, [S, ...].

    Models are built one seed after another outside jit: the small random programs are the same for every cell
    of a study, so they are compiled once a process, while one program for all of them would be compiled anew
    for every cell (it took as long as compiling the training step).
    """
    graphdef, states = None, []
    for key in init_keys:
        graphdef, params, rest = nnx.split(build(key), nnx.Param, ...)
        states.append(initial_state(params, rest, tx, rows, outputs))
    return graphdef, jax.tree.map(lambda *a: jnp.stack(a), *states)


def cost(compiled, params) -> dict[str, float]:
    """Parameters of one seed, and what the compiler says of the program: flops and peak memory."""
    count = sum(int(np.prod(p.shape[1:])) for p in jax.tree.leaves(params))
    analysis = compiled.cost_analysis() or {}
    analysis = analysis[0] if isinstance(analysis, Sequence) else analysis
    memory = compiled.memory_analysis()
    peak = 0 if memory is None else memory.temp_size_in_bytes + memory.argument_size_in_bytes
    return dict(parameters=count, flops=float(analysis.get("flops", 0.0)), peak_bytes=float(peak))


def identity(batch: Batch, key: jax.Array) -> Batch:
    """The training-time transform that changes nothing."""
    del key
    return batch
