"""The specification curve: gains in their order, and below each the choices of its universe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from fusion_jax import metrics
from fusion_jax.results.figures import COLOURS, elided, new_figure

MARKS = {  # verdict: colour, marker, how it is filled
    "holds": (COLOURS[0], "o", "full"),
    "fails": (COLOURS[1], "v", "full"),
    "undecided": ("0.5", "o", "none"),
}


def figure(table: pd.DataFrame, order: Mapping[str, Sequence[str]], measure: str, by: float):
    """Above the gains with their intervals, the margin dashed; below a dot for each value that a universe has.

    Args:
        table: a row a universe in the order of its gains, with gain, low, high, verdict and its choices.
        order: {choice: its values}.
        measure: the metric, whose units gains have.
        by: the margin.
    """
    values = [(name, value) for name, own in order.items() for value in own]
    fig, axes = new_figure(max(6, 2.5 + 0.14 * len(table)), 3 + 0.19 * len(values), 2, 1)
    above, below = axes[:, 0]
    above.get_gridspec().set_height_ratios([3, 0.19 * len(values) + 0.3])
    for verdict, (colour, marker, fill) in MARKS.items():
        rows = table[table.verdict == verdict]
        above.vlines(rows.index, rows.low, rows.high, color=colour, lw=1)
        above.plot(rows.index, rows.gain, ls="", color=colour, marker=marker, fillstyle=fill, ms=5, label=verdict)
    above.axhline(by, color="0.3", lw=0.8, ls="--")
    above.set_ylabel(f"gain in {metrics.heading(measure)}")
    above.legend(fontsize="x-small", loc="upper left")
    for place, (name, value) in enumerate(values):
        at = table.index[table[name] == value]
        below.plot(at, [place] * len(at), ls="", marker="s", ms=3, color="0.2")
    below.set_yticks(range(len(values)), [elided(f"{name}: {value}") for name, value in values], fontsize="x-small")
    below.set_ylim(len(values) - 0.5, -0.5)
    below.set_xlabel("universes, the lowest gain first")
    for ax in (above, below):
        ax.set_xlim(-0.7, len(table) - 0.3)
        ax.set_xticks([])
    return fig
