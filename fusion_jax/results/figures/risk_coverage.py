"""Risk-coverage curves: the error rate among the rows that a model is surest of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fusion_jax.results.figures import COLOURS, marks_every, style

RANKINGS = (("aurc", "probability"), ("aurc_uncertainty", "uncertainty"))


def draw(ax, coverage: np.ndarray, curves: Sequence[tuple[str, Mapping[str, np.ndarray]]], label=str) -> None:
    """A line a row and ranking; thin: ranked by the uncertainty that the model states itself.

    Args:
        curves: of every row its name and {"aurc" and, where there is one, "aurc_uncertainty": risk at the coverages}.
        label: of a name, what stands in the legend.
    """
    for i, (name, risks) in enumerate(curves):
        for ranking, how in RANKINGS:
            if ranking in risks:
                look = dict(style(i), markevery=marks_every(len(coverage)))
                look |= dict(lw=0.9, mfc="white", color=COLOURS[i % len(COLOURS)]) if ranking != "aurc" else {}
                ax.plot(coverage, risks[ranking], label=label(f"{name}, by {how}"), **look)
    ax.set(xlabel="coverage", ylabel="error rate", xlim=(0, 1))
    ax.set_ylim(bottom=0)
