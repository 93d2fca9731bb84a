"""The critical-difference diagram of Demsar (2006): average ranks over data sets, bars join what is not told apart."""

from __future__ import annotations

import numpy as np

from fusion_jax.results.across import Across
from fusion_jax.results.figures import elided, new_figure
from fusion_jax.results.rendering.table import p_text

SHOWN = 24  # rows; of more the best
ROW = 0.26  # inches of a name


def figure(found: Across):
    """Ranks on the axis, 1 the best at the left; names in two columns beside it; Nemenyi's distance above."""
    count = min(SHOWN, len(found.names))
    ranks = np.asarray(found.mean_ranks)[:count]
    bars = [(run[0], min(run[-1], count - 1)) for run in found.groups if run[0] < count - 1]
    half = (count + 1) // 2
    depth = 0.35 + 0.25 * len(bars)  # below the axis in rows, so that no bar crosses a name
    fig, ax = new_figure(8.4, 1.2 + ROW * (half + depth + 2))
    low, high = np.floor(ranks.min()), max(np.ceil(ranks.max()), np.floor(ranks.min()) + 1)
    span = high - low
    ax.set_xlim(low - span, high + span)
    ax.set_ylim(half + depth + 0.8, -2.2)
    ax.axis("off")
    ax.set(xticks=[], yticks=[])
    ax.plot([low, high], [0, 0], color="black", lw=1)
    step = max(1, int(np.ceil(span / 10)))
    for tick in np.arange(low, high + 0.5, step):
        ax.plot([tick, tick], [0, -0.25], color="black", lw=1)
        ax.text(tick, -0.4, f"{tick:g}", ha="center", va="bottom", fontsize="small")
    _names(ax, found.names[:count], ranks, half, depth, low, high)
    for k, (first, last) in enumerate(bars):
        y = 0.35 + 0.25 * k
        ax.plot([ranks[first] - 0.01 * span, ranks[last] + 0.01 * span], [y, y], color="black", lw=3.5)
    distance = min(found.critical_difference, span)
    ax.plot([low, low + distance], [-1.6, -1.6], color="black", lw=1.2, marker="|", ms=6)
    told = f"critical difference {found.critical_difference:.2f}"
    told += f", Friedman p {p_text(found.p, equal=True)}" if np.isfinite(found.p) else ""
    more = f"; {count} of {len(found.names)} rows" if count < len(found.names) else ""
    ax.text(low, -1.75, f"{told} ({len(found.data)} data sets{more})", fontsize="small", va="bottom")
    return fig


def _names(ax, names, ranks, half: int, depth: float, low: float, high: float) -> None:
    """The better half at the left, the others at the right, each on a line of its own that leads to its rank."""
    span = high - low
    for i, (label, rank) in enumerate(zip(names, ranks, strict=True)):
        left = i < half
        y = depth + 0.5 + (i if left else len(names) - 1 - i)
        x, edge = (low - 0.03 * span, "right") if left else (high + 0.03 * span, "left")
        ax.plot([rank, rank, x], [0, y, y], color="0.35", lw=0.8)
        label = elided(label.removesuffix(", -"), 34)  # what has no place, such as a control
        text = f"{label}  {rank:.1f}" if left else f"{rank:.1f}  {label}"
        ax.text(x - 0.01 * span if left else x + 0.01 * span, y, text, ha=edge, va="center", fontsize="small")
