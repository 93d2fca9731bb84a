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
import numpy as np
import optax
from flax import nnx

from fusion_jax.training import sharding
from fusion_jax.training.step import LossFn, State, Trial, initial_state, is_active, make_epoch, scaled
from fusion_jax.types import Batch, Output, Target


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained cell.

    Attributes:
        graphdef: with `params` and `rest` of one seed gives the model (`nnx.merge`).
        params, rest: best parameters and statistics of every seed, [S, ...].
        history: {name: float [S, T]}, NaN after a seed has stopped.
        best_epoch: int [S].
        output: the model's `Output` at the best epoch, with a leading seed axis, on the host.
        cost: parameters, flops and peak_bytes of the training program (the compiler's own figures, for one
            epoch), compile_seconds, train_seconds.
    """

    graphdef: Any
    params: Any
    rest: Any
    history: dict[str, np.ndarray]
    best_epoch: np.ndarray
    output: Output
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
    seed_axis: str = "auto",
    restore: Callable[[State], tuple[State, list] | None] = lambda state: None,
    at_border: Callable[[State, list[dict]], None] = lambda state, history: None,
) -> Trained:
    """Trains every seed until its validation score stops rising, and predicts with each seed's best epoch.

    Args:
        build: key -> model; called once a seed, inside a `vmap`.
        init_keys: [S] keys; trials, target: leaves [S, ...].
        target: labels of rows that must not be seen are 0 here, and have weight 0 in `trials`.
        restore: given a fresh state, the state and history of an interrupted run, or None.
        at_border: called after each chunk with the state and the history chunks so far.
    """
    chunk = min(chunk, epochs)
    graphdef, *_ = nnx.split(nnx.eval_shape(build, init_keys[0]), nnx.Param, ...)
    state = jax.jit(jax.vmap(lambda key: initial_state(build(key), tx)[1]))(init_keys)
    state, trials, target = sharding.shard_seeds((state, trials, target))
    epoch = make_epoch(graphdef, tx, loss, score, transform or identity, patience, epochs)

    def run_chunk(states: State, trials: Trial, batch: Batch, target: Target):
        def one(state: State, trial: Trial, target: Target):
            seen = scaled(batch, trial)
            return jax.lax.scan(lambda s, _: epoch(s, trial, seen, target), state, None, length=chunk)

        return map_seeds(one, seed_axis)(states, trials, target)

    def predict(params, rest, trials: Trial, batch: Batch):
        def one(params, rest, trial: Trial):
            whole = dataclasses.replace(trial, graph=None, mask=None)  # evaluation sees the whole graph
            return nnx.merge(graphdef, params, rest, copy=True)(scaled(batch, whole))

        return map_seeds(one, seed_axis)(params, rest, trials)

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

    output = jax.tree.map(np.asarray, jax.jit(predict)(state.best_params, state.best_rest, trials, batch))
    joined = {k: np.concatenate([h[k] for h in history], axis=1)[:, :epochs] for k in history[0]}
    return Trained(
        graphdef, state.best_params, state.best_rest, joined, np.asarray(state.best_epoch), output,
        dict(**cost(compiled, state.params), compile_seconds=compile_seconds, train_seconds=train_seconds),
    )  # fmt: skip


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
