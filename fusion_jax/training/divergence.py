"""Seeds that have no result: at which epoch, and why."""

from __future__ import annotations

import numpy as np

from fusion_jax.training.state import CAUSES, State


def diverged(state: State, train_loss: np.ndarray) -> dict[int, tuple[int, str]]:
    """{place on the seed axis: (epoch, cause)} of a state at the end of training; train_loss is [S, T]."""
    found = {}
    for i, (epoch, cause) in enumerate(zip(state.diverged.tolist(), state.cause.tolist(), strict=True)):
        if epoch >= 0:
            what = f"is {train_loss[i, epoch]}" if cause == 1 else "is not finite" if cause == 2 else "are not finite"
            found[i] = (epoch, f"{CAUSES[cause]} {what}")
        elif state.best_epoch[i] < 0:
            found[i] = (max(int(state.epoch[i]) - 1, 0), "no epoch has a validation score that is a number")
        elif not np.isfinite(state.best_prediction[i]).all():
            found[i] = (int(state.best_epoch[i]), "predictions are not finite")
    return found


def all_diverged(label: str, seeds: list[list]) -> str:
    """What to say of a cell of which no seed has a result: [seed, epoch, cause] each."""
    shown = [f"seed {seed} at epoch {epoch} ({cause})" for seed, epoch, cause in seeds]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return (
        f"{label}: every seed diverged, {', '.join(shown[:3])}{more}; try a lower optimizer.learning_rate, or "
        "optimizer.clip=1.0"
    )
