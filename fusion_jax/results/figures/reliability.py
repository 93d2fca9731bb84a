"""The reliability diagram: how often rows are right against how sure the model is of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_jax.results.figures import style

Bins = tuple[np.ndarray, np.ndarray, np.ndarray]  # count, mean confidence, accuracy [B]


def draw(ax, curves: Sequence[tuple[str, Bins]]) -> None:
    """A line a row, on the diagonal where it is calibrated; bins with less than 0.5 % of its rows are left out."""
    ax.plot([0, 1], [0, 1], color="0.7", lw=1)
    for i, (label, (count, confidence, accuracy)) in enumerate(curves):
        often = count >= 0.005 * count.sum()  # the accuracy of a handful of rows is noise
        ax.plot(confidence[often], accuracy[often], label=label, **style(i))
    ax.set(xlabel="top-label probability", ylabel="accuracy")
