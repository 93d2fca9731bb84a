"""The calibration of a study's cells, from their stored predictions: rows for a table, curves for a figure."""

from __future__ import annotations

import dataclasses

import numpy as np

from fusion_jax import metrics, plan, tasks, zoo
from fusion_jax.metrics.aurc import risk_coverage
from fusion_jax.metrics.brier import confidence
from fusion_jax.metrics.ece import reliability
from fusion_jax.results import measured
from fusion_jax.results.figures import new_figure, wrapped
from fusion_jax.results.store import Store
from fusion_jax.results.tables import Row

SHOWN = 6  # rows a panel
GRID = np.linspace(0.01, 1, 100)  # coverages at which curves of several seeds are averaged


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """One row and its curves, on test rows.

    Attributes:
        row: the row of the study with the calibration's measures for values.
        accuracy: mean over the seeds.
        bins: count, mean confidence and accuracy [B], of the rows of all seeds together.
        risks: {"aurc" and, where there is one, "aurc_uncertainty": risk at the coverages `GRID`}, mean over seeds.
    """

    row: Row
    accuracy: float
    bins: tuple[np.ndarray, np.ndarray, np.ndarray]
    risks: dict[str, np.ndarray]


def collect(store: Store, found: list[Row]) -> list[Calibrated]:
    """Of the study's rows those with stored class probabilities, in order."""
    able = (row for row in found if row.cell and tasks.of(row.task).probabilities and _has(store, row))
    return [_calibrated(store, row) for row in able]


def _has(store: Store, row: Row) -> bool:
    """Whether a row's predictions are stored, and are probabilities."""
    control = plan.of(store.config(row.cell)).control.name
    return store.has(row.cell, "predictions.parquet") and (not control or zoo.get("control", control).probabilities)


def _calibrated(store: Store, row: Row) -> Calibrated:
    found = measured.scored(store, row.cell, "test")
    each, tops, risks = [found[seed][1] for seed in row.seeds], [], []
    values = metrics.scores(each, "calibration")
    for rows in each:
        top, correct = confidence(rows)
        tops.append((top, correct))
        by = dict(aurc=top) | ({} if rows.uncertainty is None else dict(aurc_uncertainty=-rows.uncertainty))
        risks.append({name: np.interp(GRID, *risk_coverage(score, correct)) for name, score in by.items()})
    return Calibrated(
        dataclasses.replace(row, values=values, table="calibration"),
        float(np.mean([correct.mean() for _, correct in tops])),
        reliability(*(np.concatenate(v) for v in zip(*tops, strict=True))),
        {name: np.mean([r[name] for r in risks], axis=0) for name in risks[0] if all(name in r for r in risks)},
    )


def chosen(group: list[Calibrated]) -> list[Calibrated]:
    """At most `SHOWN` of them: those with an uncertainty before others, then the more accurate; in their order."""
    ranked = sorted(group, key=lambda c: ("aurc_uncertainty" in c.risks, c.accuracy), reverse=True)
    return [c for c in group if any(c is r for r in ranked[:SHOWN])]


def figure(found: list[Calibrated]):
    """For each data set a reliability diagram and risk-coverage curves; dashed: ranked by the stated uncertainty."""
    groups: dict[str, list[Calibrated]] = {}
    for c in found:
        groups.setdefault(c.row.data, []).append(c)
    fig, axes = new_figure(11, 3.8 * len(groups), len(groups), 2)
    for (left, right), (data, group) in zip(axes, groups.items(), strict=True):
        left.plot([0, 1], [0, 1], color="0.7", lw=1)
        for i, c in enumerate(kept := chosen(group)):
            count, confidence, accuracy = c.bins
            often = count >= 0.005 * count.sum()  # the accuracy of a handful of rows is noise
            left.plot(confidence[often], accuracy[often], color=f"C{i}", marker="o", ms=3)
            name = f"{c.row.label}, {c.row.placement}"
            for ranking, style, how in (("aurc", "-", "probability"), ("aurc_uncertainty", "--", "uncertainty")):
                if ranking in c.risks:
                    right.plot(GRID, c.risks[ranking], color=f"C{i}", ls=style, label=wrapped(f"{name}, by {how}"))
        left.set(xlabel="top-label probability", ylabel="accuracy")
        left.set_title(f"{data}: reliability", fontsize="small")
        right.set(xlabel="coverage", ylabel="error rate", xlim=(0, 1))
        right.set_title(f"{data}: risk-coverage", fontsize="small")
        right.set_ylim(bottom=0)
        note = None
        if len(kept) < len(group):
            note = f"{len(kept)} of {len(group)} rows: with uncertainty,\nthen by test accuracy"
        small = dict(fontsize="x-small", title_fontsize="x-small")
        right.legend(title=note, loc="center left", bbox_to_anchor=(1, 0.5), **small)
    return fig
