"""How well single rows are predicted, larger is better: what an analysis looks at below the metrics of a whole part."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from fusion_jax.records import Target


def row_scores(target: Target, prediction: np.ndarray) -> tuple[str, np.ndarray] | None:
    """What it is called, and float64 [..., R] of the predictions [..., R, C] of the rows of a target.

    Of classes the probability of the true class; of values minus the squared error, meaned over the columns; None of
    other tasks, for which nobody has said what a row's share in the score is.
    """
    found = np.asarray(prediction, np.float64)
    if target.kind == "classes":
        p = softmax(found, axis=-1)
        return "p(true class)", p[..., np.arange(len(target)), np.asarray(target.labels)]
    if target.kind == "values":
        return "minus squared error", -((found - np.asarray(target.values, np.float64)) ** 2).mean(-1)
    return None
