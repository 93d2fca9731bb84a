"""Score against cost: which rows no other row beats in both, for training seconds and for parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_jax import metrics
from fusion_jax.results.figures import elided, new_figure, spread_out
from fusion_jax.results.rendering.table import COST_HEADS, PRICED, Table, mean, name

NAMED = 12  # rows of a front that are named beside their dots
PANEL = 3.6  # inches


def figure(made: Sequence[Table]):
    """For each data set a panel a cost; filled and numbered: on the front. None where no row has a cost and a score."""
    tables = [table for table in made if any(_dots(table, cost) for cost in PRICED)]
    if not tables:
        return None
    fig, axes = new_figure(11, PANEL * len(tables), len(tables), len(PRICED))
    for line, table in zip(axes, tables, strict=True):
        for ax, cost in zip(line, PRICED, strict=True):
            _draw(ax, table, cost)
        line[0].set_title(elided(table.rows[0].data, 60), fontsize="small", loc="left")
    return fig


def _dots(table: Table, cost: str) -> list[tuple[float, float, int]]:
    """(cost, mean score, number) of the rows that have both, the cheapest first."""
    if not table.lead:
        return []
    found = [(getattr(row, cost), mean(row, table.lead), i) for i, row in enumerate(table.rows)]
    return sorted((float(price), score, i) for price, score, i in found if price is not None and np.isfinite(score))


def _draw(ax, table: Table, cost: str) -> None:
    dots, front = _dots(table, cost), table.front.get(cost, frozenset())
    others = [(price, score) for price, score, i in dots if i not in front]
    best = [(price, score, i) for price, score, i in dots if i in front]
    dot = dict(ls="", marker="o")
    if others:
        ax.plot(*zip(*others, strict=True), ms=4.5, color="0.55", mfc="none", label="beaten by another row", **dot)
    numbered = set()
    for number, (price, score, i) in enumerate(best[:NAMED], 1):
        label = f"{number}  {elided(name(table.rows[i]), 34)}"
        ax.plot(price, score, ms=6, color="#0072B2", label=label, **dot)
        if (price, score) not in numbered:  # rows on one spot have one number there
            ax.annotate(str(number), (price, score), xytext=(4, 4), textcoords="offset points", fontsize="x-small")
        numbered.add((price, score))
    if len(best) > 1:
        x, y, _ = zip(*best, strict=True)
        ax.plot(x, y, color="#0072B2", lw=1, drawstyle="steps-post", zorder=0)
    if dots:
        spread_out(ax, [price for price, *_ in dots])
    ax.set_xlabel(f"{COST_HEADS[cost]} of one seed", fontsize="small")
    ax.set_ylabel(metrics.heading(table.lead), fontsize="small")
    ax.tick_params(which="both", labelsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    if dots:
        ax.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
