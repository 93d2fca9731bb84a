"""The calibration of a study's cells, from their stored predictions: rows for a table, curves for a figure."""

from __future__ import annotations

import dataclasses

import numpy as np

from fusion_jax.results.calibration import GRID
from fusion_jax.results.figures import new_figure, reliability, risk_coverage, wrapped
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store

SHOWN = 6  # rows a panel


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """One row and its curves (`calibration.Calibration`), on test rows.

    Attributes:
        row: the row of the study with the calibration's measures for values.
        accuracy, bins, risks: as there.
    """

    row: Row
    accuracy: float
    bins: tuple[np.ndarray, np.ndarray, np.ndarray]
    risks: dict[str, np.ndarray]


def collect(store: Store, found: list[Row]) -> list[Calibrated]:
    """Of the study's rows those with stored class probabilities, in order."""
    del store  # what was read for the rows is enough
    able = [(row, row.calibration) for row in found if row.cell and row.calibration is not None]
    return [
        Calibrated(dataclasses.replace(row, values=c.values, table="calibration"), c.accuracy, c.bins, c.risks)
        for row, c in able
    ]


def chosen(group: list[Calibrated]) -> list[Calibrated]:
    """At most `SHOWN` of them: those with an uncertainty before others, then the more accurate; in their order."""
    ranked = sorted(group, key=lambda c: ("aurc_uncertainty" in c.risks, c.accuracy), reverse=True)
    return [c for c in group if any(c is r for r in ranked[:SHOWN])]


def figure(found: list[Calibrated]):
    """For each data set a reliability diagram and risk-coverage curves; thin: ranked by the stated uncertainty."""
    groups: dict[str, list[Calibrated]] = {}
    for c in found:
        groups.setdefault(c.row.data, []).append(c)
    fig, axes = new_figure(11, 3.8 * len(groups), len(groups), 2)
    for (left, right), (data, group) in zip(axes, groups.items(), strict=True):
        kept = chosen(group)
        names = [c.row.label + f", {c.row.placement}" * (c.row.placement != "-") for c in kept]
        reliability.draw(left, list(zip(names, (c.bins for c in kept), strict=True)))
        risk_coverage.draw(right, GRID, list(zip(names, (c.risks for c in kept), strict=True)), wrapped)
        left.set_title(f"{data}: reliability", fontsize="small")
        right.set_title(f"{data}: risk-coverage", fontsize="small")
        note = None
        if len(kept) < len(group):
            note = f"{len(kept)} of {len(group)} rows: with uncertainty,\nthen by test accuracy"
        small = dict(fontsize="x-small", title_fontsize="x-small")
        right.legend(title=note, loc="center left", bbox_to_anchor=(1, 0.5), **small)
    return fig
