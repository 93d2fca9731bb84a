"""What training returns."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained cell.

    Attributes:
        graphdef: with `params` and `rest` of one seed gives the model (`nnx.merge`).
        params, rest: best parameters and statistics of every seed, [S, ...].
        history: {name: float [S, T]}, NaN after a seed has stopped (in each stage). Losses are in the units that the
            model learns in: those of a regression target are standardised.
        best_epoch: int [S], of the last stage, counted from the start of the first; where that stage has no epochs,
            the last epoch before it (0 if there is none).
        prediction: float32 [S, N, C], of the whole batch at the best epoch.
        uncertainty: float32 [S, N], of these predictions, or None where the model states none.
        cost: parameters, flops and peak_bytes of the training program (the compiler's own figures, for one
            epoch; the largest of the stages), flops_seeds, how many seeds these flops are of (one where the program is
            of one seed or goes through them in a loop, else the share of a device), compile_seconds, train_seconds.
        diverged: {place on the seed axis: (epoch, cause)} of the seeds that have no result, because their training
            loss, gradient or parameters stopped being finite at that epoch, or their predictions are not.
        snapshots: {epoch: (params, rest)}, [S, ...]: after so many epochs, counted from the start of the first stage,
            what was asked for. A seed that stopped before (or diverged) has its last of that stage.
    """

    graphdef: Any
    params: Any
    rest: Any
    history: dict[str, np.ndarray]
    best_epoch: np.ndarray
    prediction: np.ndarray
    uncertainty: np.ndarray | None
    cost: dict[str, float]
    diverged: dict[int, tuple[int, str]] = dataclasses.field(default_factory=dict)
    snapshots: dict[int, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
