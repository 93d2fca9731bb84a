"""All seeds of a cell in one compiled program: a loop over a chunk of epochs, mapped over the seeds.

A scheme may divide training into stages; each has a program of its own and starts from what the one before has kept,
or from what its `begin` makes of that. In between chunks it is the host's turn: progress, checkpoints, whether somebody
wants it to stop, and whether every seed has. So a chunk is no longer than `BORDER` seconds, if its epochs allow: how
many it has is an argument of the program, and changes nothing of what each of them computes. The seed axis is `vmap` on
accelerators. On a CPU, where batched small matrices lose to one seed after another and a stopped seed costs nothing,
the program is of one seed, and runs for as many at a time as there are cores (`turns`); `lax.map` where there are
several devices. Seeds are shared out to all devices (`sharding.Seats`); what leaves this file is of the seeds alone.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Hashable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.nn.numbered import numbered
from fusion_jax.records import Array, Batch, Target
from fusion_jax.schemes.base import Stage
from fusion_jax.training import programs, sharding, turns
from fusion_jax.training.compilation import cost_of
from fusion_jax.training.divergence import diverged
from fusion_jax.training.flat import flat_on_host, stacked, tree_on_host
from fusion_jax.training.node_seats import NodeSeats
from fusion_jax.training.snapshots import empty_buffer, epochs_of, taken
from fusion_jax.training.stages import Optimizer, PlannedStage, plan
from fusion_jax.training.starts import start_stage
from fusion_jax.training.state import State, initial_state
from fusion_jax.training.step import HISTORY, LossFn, Penalty, is_active, make_epoch
from fusion_jax.training.trained import Trained
from fusion_jax.training.trial import Trial, alike, scaled, whole

BORDER = 10.0  # seconds between two turns of the host at most, where an epoch of all seeds takes no longer
SLOW = 1e9  # FLOP/s that no machine has less of: whether a first chunk may be long is guessed from it


def train(
    models: Sequence[nnx.Module],
    trials: Trial,
    batch: Batch,
    target: Target,
    stages: Sequence[Stage],
    optimizer: Optimizer,
    loss: LossFn,
    score: LossFn,
    *,
    patience: int,
    chunk: int,
    select_on_whole: bool = False,
    select_every: int = 1,
    penalty: Penalty | None = None,
    seed_axis: str = "auto",
    snapshots: int = 0,
    alike_to: Hashable = None,
    devices: Sequence[jax.Device] | None = None,
    nodes: NodeSeats | None = None,
    agreed: Callable[[int], int] = lambda count: count,
    restore: Callable[[State], tuple[State, list] | None] = lambda state: None,
    at_border: Callable[[State, list[dict]], None] = lambda state, history: None,
) -> Trained:
    """Trains every seed until its validation score stops rising, and predicts with each seed's best epoch.

    Args:
        models: one a seed, with its initial values.
        trials, target: leaves [S, ...].
        target: labels of rows that must not be seen are 0 here, and have weight 0 in `trials`.
        stages: one after another (a scheme's hook); patience holds in each by itself.
        optimizer: see `stages.Optimizer`. Those of all stages have the same state, so that a save tells nothing of its
            stage but its history.
        select_on_whole, select_every, penalty: see `step.make_epoch`.
        snapshots: so many, evenly spaced from before the first epoch to after the last, besides those that stages ask
            for.
        alike_to: all that is compiled in, the forms of arrays aside: trainings that are alike share their programs
            (`programs.held`); None for a training that shares with none.
        devices: on which the seeds lie; this process's if None. Of several processes (`run.pod`) each calls this alike.
        nodes: where the nodes lie, if these and not the seeds are shared out over devices.
        agreed: given how many epochs a chunk should have by this process's clock, how many it has in all of them; 0
            once, when everything is compiled.
        restore: given a fresh state, the state and history of an interrupted run, or None.
        at_border: called after each chunk with the state and the history chunks so far.
    """
    plans = plan(stages, optimizer, snapshots)
    kept = epochs_of([planned.slots for planned in plans])
    rows, outputs = len(trials.val_weight[0]), target.num_outputs
    graphdef, state = _initial(models, plans[0], trials, rows, outputs, len(kept))
    restored = restore(state)
    state, history = restored if restored is not None else (state, [])
    alone = sharding.spread(models[0])
    seats = nodes or sharding.seats(len(models), jax.local_devices()[:1] if alone else devices)
    state, trials, target = seats.taken((state, trials, target))
    # a seed that has diverged trains no further: neither does a row that is idle
    state = dataclasses.replace(state, diverged=jnp.where(seats.idle, 0, state.diverged))
    state, trials, target = seats.laid((state, trials, target))
    shared = seats.everywhere(batch)
    fixed = turns.rows((trials, target)) if seats.in_turn(seed_axis) else []

    def epochs_to_run(count: int) -> Array:
        return seats.everywhere(jnp.array(count, jnp.int32))

    def compile_stage(planned: PlannedStage):
        epoch = make_epoch(graphdef, loss, score, planned, select_on_whole, select_every, penalty)
        length = max(min(chunk, planned.stage.epochs), 1)

        def one_chunk(state: State, trial: Trial, batch: Batch, target: Target, count: Array):
            seen = scaled(batch, trial)
            shown = seen if alike(batch, trial) else whole(batch, trial)

            def goes_on(found):
                i, state, _ = found
                return (i < count) & (is_active(state, planned, patience) | (planned.stage.epochs == 0))

            def step(found):
                i, state, kept = found
                state, log = epoch(state, trial, seen, shown, target)
                return i + 1, state, {k: v.at[i].set(log[k]) for k, v in kept.items()}

            empty = {k: jnp.full(length, jnp.nan, jnp.float32) for k in HISTORY if planned.stage.epochs}
            return jax.lax.while_loop(goes_on, step, (jnp.int32(0), state, empty))[1:]

        def all_chunks(states: State, trials: Trial, batch: Batch, target: Target, count: Array):
            def one(shared: tuple[Batch, Array], state: State, trial: Trial, target: Target):
                return one_chunk(state, trial, shared[0], target, shared[1])

            with numbered(batch.graph):
                return seats.mapped(one, seed_axis)((batch, count), states, trials, target)

        arguments = (state, trials, shared, target, epochs_to_run(1))
        program = all_chunks
        if fixed:
            program, arguments = one_chunk, (turns.rows(state)[0], fixed[0][0], shared, fixed[0][1], epochs_to_run(1))
        key = None if alike_to is None else (alike_to, planned.place, programs.form(arguments))
        return programs.compiled(key, lambda: jax.jit(program, donate_argnums=0).lower(*arguments).compile())

    def run(program: Callable, state: State, count: int):
        count = epochs_to_run(count)
        if not fixed:
            return program(state, trials, shared, target, count)
        own = zip(turns.rows(state), fixed, strict=True)
        each = [(row, trial, shared, target, count) for row, (trial, target) in own]
        return turns.in_turn(program, each, not alone)

    patience = max(patience, select_every)  # else every seed stopped before it is looked at for the first time
    start = time.perf_counter()
    compiled = [compile_stage(planned) for planned in plans]
    agreed(0)
    compile_seconds = time.perf_counter() - start

    def anybody_trains(planned: PlannedStage) -> bool:
        moving = dict(epoch=state.epoch, best_epoch=state.best_epoch, diverged=state.diverged)
        held = {name: np.asarray(value) for name, value in seats.here(moving).items()}
        return bool(is_active(dataclasses.replace(state, **held), planned, patience, np).any())

    costs, counted = [cost_of(program, state.params) for program in compiled], seats.counted(seed_axis)
    start = time.perf_counter()
    for planned, program, cost in zip(plans, compiled, costs, strict=True):
        most = max(min(chunk, planned.stage.epochs), 1)
        count = _within(BORDER, seats.each / counted * cost["flops"] / SLOW, most)
        if _length(history) == planned.first:  # else a save lies behind this stage's first epoch
            if planned.place > 0 or planned.stage.begin is not None or kept:  # else the initial state is its start
                own = seats.here((state, trials, target))
                state = seats.laid(start_stage(planned, graphdef, *own[:2], batch, own[2], loss, penalty))
            if planned.stage.epochs == 0:
                state, _ = run(program, state, 1)
        while anybody_trains(planned):
            count = agreed(min(count, planned.end - _length(history)))
            begun = time.perf_counter()
            state, logs = run(program, state, count)
            history.append({k: np.asarray(v)[seats.own, :count] for k, v in seats.here(logs).items()})
            count = _within(BORDER, (time.perf_counter() - begun) / count, most)
            at_border(seats.of_seeds(state), history)
        if planned.place + 1 < len(plans):  # by its place: a last stage without epochs ends where this one does
            _fill_up(history, planned.end)
    train_seconds = time.perf_counter() - start
    state = seats.of_seeds(state)

    before = np.zeros((len(models), 0), np.float32)  # so that there is something to join where no stage has epochs
    joined = {k: np.concatenate([before, *(h[k] for h in history)], axis=1) for k in HISTORY}
    uncertainty = np.asarray(state.best_uncertainty)
    return Trained(
        graphdef,
        tree_on_host(state.best_params),
        state.best_rest,
        joined,
        np.asarray(state.best_epoch),
        np.asarray(state.best_prediction),
        None if np.isnan(uncertainty).all() else uncertainty,
        dict(
            {k: max(c[k] for c in costs) for k in costs[0]},
            flops_seeds=counted,
            compile_seconds=compile_seconds,
            train_seconds=train_seconds,
        ),
        diverged(state, joined["train_loss"]),
        taken(state.snapshots, kept),
    )


def _initial(models: Sequence[nnx.Module], first: PlannedStage, trials: Trial, rows: int, outputs: int, kept: int):
    """The graph definition, and the initial state of every seed, [S, ...], joined on the host: it compiles nothing."""
    states = []
    for i, model in enumerate(models):
        graphdef, tree, rest = nnx.split(model, nnx.Param, ...)
        params, tx = flat_on_host(tree), first.optimizer(jax.tree.map(lambda a, i=i: a[i], trials.numbers))
        buffer = empty_buffer(params, rest, kept)
        states.append(initial_state(params, rest, tx, rows, outputs, snapshots=buffer))
    return graphdef, stacked(states)


def _within(seconds: float, an_epoch: float, most: int) -> int:
    """How many epochs of so many seconds take no longer than that, from 1 to `most`."""
    return max(1, min(most, int(seconds / an_epoch) if an_epoch > 0 else most))


def _length(history: list[dict[str, np.ndarray]]) -> int:
    return sum(next(iter(h.values())).shape[1] for h in history)


def _fill_up(history: list[dict[str, np.ndarray]], epochs: int) -> None:
    """NaN up to `epochs`, where all seeds have stopped before, so that later stages stand at their own epochs."""
    missing = epochs - _length(history)
    if missing > 0:
        history.append({k: np.full((len(v), missing), np.nan, v.dtype) for k, v in history[0].items()})
