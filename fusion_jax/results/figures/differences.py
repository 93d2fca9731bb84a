"""Differences to the baseline: a dot a row with its 95 % interval, on an axis that shows them and not the scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_jax import metrics
from fusion_jax.results import tables
from fusion_jax.results.compare import Comparison
from fusion_jax.results.figures import elided, new_figure
from fusion_jax.results.rendering.table import Table, name

ROW, HEAD = 0.24, 1.1  # inches of a row, and of a panel's title and axis
SHOWN = 40  # rows of a panel; of more the best
KINDS = (  # mark, colour, face: in grey the marker and its filling tell
    ("+", "^", "#0072B2", "#0072B2", "better after correction"),
    ("-", "v", "#D55E00", "#D55E00", "worse after correction"),
    ("", "o", "0.25", "white", "not shown to differ"),
)


def figure(made: Sequence[Table]):
    """A panel a data set, its rows by their difference, the best on top; None where nothing is compared."""
    panels = [(table, found) for table in made if (found := _shown(table))]
    if not panels:
        return None
    heights = [HEAD + ROW * len(found) for _, found in panels]
    fig, _ = new_figure(7.2, sum(heights))
    fig.clear()
    axes = fig.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (table, found) in zip(axes, panels, strict=True):
        _draw(ax, table, found)
    return fig


def _shown(table: Table) -> list[Comparison]:
    """The comparisons whose interval is known, the best last."""
    sign = metrics.sign(table.lead) if table.lead else 1
    found = [c for c in table.compared.get(table.lead, {}).values() if np.isfinite([c.low, c.high]).all()]
    return sorted(found, key=lambda c: sign * c.difference)[-SHOWN:]


def _draw(ax, table: Table, found: Sequence[Comparison]) -> None:
    scale, _ = tables.scaling(table.lead, percent=True)
    ax.axvline(0, color="0.6", lw=1, zorder=0)
    for kind, marker, colour, face, label in KINDS:
        own = [(y, c) for y, c in enumerate(found) if ("+" * c.better or "-" * c.worse) == kind]
        if not own:
            continue
        y = [place for place, _ in own]
        x, low, high = (scale * np.array([getattr(c, key) for _, c in own]) for key in ("difference", "low", "high"))
        ax.hlines(y, low, high, color=colour, lw=1.3)
        ax.plot(x, y, ls="", marker=marker, ms=5.5, color=colour, mfc=face, label=label)
    ax.set_yticks(range(len(found)), [elided(_named(c, found)) for c in found], fontsize="small")
    ax.set_ylim(-0.7, len(found) - 0.3)
    unit = "points" if scale != 1 else "units of the metric"
    side = "" if metrics.sign(table.lead) > 0 else ", less is better"
    ax.set_xlabel(f"{metrics.heading(table.lead)} less the baseline's ({unit}{side}), 95 % interval", fontsize="small")
    ax.set_title(f"{elided(table.rows[0].data, 60)}: baseline {_baseline(found)}", fontsize="small", loc="left")
    ax.legend(fontsize="x-small", loc="lower right", framealpha=0.85)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="x", labelsize="small")


def _baseline(found: Sequence[Comparison]) -> str:
    """The baseline by name; of several placements of one that each row has the one of its own, if it is there."""
    names = dict.fromkeys(name(c.b) for c in found)
    alike = len(names) > 1 and len({c.b.name for c in found}) == 1
    return f"{found[0].b.name} (placed as the row is, if it is there)" if alike else ", ".join(names)


def _named(found: Comparison, every: Sequence[Comparison]) -> str:
    """The row's name; with protocol and setting where rows of several are in the panel."""
    kinds = {(c.a.protocol, c.a.setting) for c in every}
    return name(found.a) + (f" [{found.a.protocol}, {found.a.setting}]" if len(kinds) > 1 else "")
