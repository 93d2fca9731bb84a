"""Which rows of a study no other row beats in both cost and score: where a better score has to be paid for."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from fusion_jax import metrics
from fusion_jax.analysis.base import Report
from fusion_jax.records import Info
from fusion_jax.results import tables
from fusion_jax.results.figures import new_figure, spread_out, wrapped
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store
from fusion_jax.zoo import nearest

INFO = Info("Folklore: Pareto front", cost="O(R^2) for R rows")
OF = "study"
COSTS = ("seconds", "parameters")
NOTE = (
    "A row beats another where it costs no more, scores no less, and one of the two is better; rows of one data set, "
    "protocol and setting are compared, and of the rows that beat another the one with the best score is named. Scores "
    "are means over seeds on test rows and are compared as they are: whether a difference is more than chance stands "
    "in the study's report."
)
SECONDS = " Seconds are of one seed, of training without compilation, and of the machine that trained the row."


def cost_against_score(store: Store, *, cost: str = "seconds", metric: str = "") -> Report:
    """The table of all rows with a cost and a score, and for each the row that beats it.

    Args:
        cost: "seconds" (of training) or "parameters".
        metric: the score; "" for the one that ranks the rows of the task.
    Raises:
        ValueError: another cost, a metric that no row has, or no row with both.
    """
    if cost not in COSTS:
        raise ValueError(f"cost_against_score: cost={cost!r}{nearest(cost, COSTS)}; expected one of {COSTS}")
    rows = tables.rows(store)
    known = sorted({m for row in rows for m in row.values})
    if metric and metric not in known:
        raise ValueError(
            f"cost_against_score: no row has the metric {metric!r}{nearest(metric, known)}; found: {known}"
        )
    lines = [_line(row, cost, metric or row.primary) for row in rows]
    lines = [line for line in lines if line is not None]
    if not lines:
        raise ValueError(f"cost_against_score: no finished row has both {cost} and a score")
    table = pd.DataFrame(lines).astype({cost: int if cost == "parameters" else float})
    groups = [group for _, group in table.groupby(["data", "metric", "protocol", "setting"], sort=False)]
    table["beaten_by"] = pd.concat([_beaten_by(group, cost) for group in groups])
    first = table[table.beaten_by.isna()]
    names = ", ".join(
        _name(row) + (f" on {row.data}" if table.data.nunique() > 1 else "") for row in first.itertuples()
    )
    sentence = f"Of {len(table)} rows {len(first)} are beaten by no other in both {cost} and score: {names}."
    left_out = len(rows) - len(table)
    note = NOTE + SECONDS * (cost == "seconds") + f" Rows without one of the two: {left_out}." * (left_out > 0)
    return Report({"rows": table}, sentence, {"front": functools.partial(_figure, table, cost)}, note=note)


def _line(row: Row, cost: str, metric: str) -> dict | None:
    values = row.values.get(metric)
    if values is None or not np.isfinite(values).all() or getattr(row, cost) is None:
        return None
    return dict(
        row=row.label,
        placement=row.placement,
        data=row.data,
        protocol=row.protocol,
        setting=row.setting,
        **{cost: getattr(row, cost)},
        metric=metric,
        score=values.mean(),
        std=values.std(ddof=1) if len(values) > 1 else np.nan,
        seeds=len(values),
    )


def _beaten_by(group: pd.DataFrame, cost: str) -> pd.Series:
    """For every row of a group the name of the best that beats it, None where there is none."""
    sign = metrics.sign(group.metric.iloc[0])
    score, price = sign * group.score.to_numpy(), group[cost].to_numpy()
    names: Sequence[str] = [_name(row) for row in group.itertuples()]
    found = []
    for s, p in zip(score, price, strict=True):
        gain = np.where(np.isclose(score, s, rtol=1e-9, atol=0), 0, score - s)  # equal means may differ in the last bit
        better = (gain >= 0) & (price <= p) & ((gain > 0) | (price < p))
        found.append(names[np.where(better, score, -np.inf).argmax()] if better.any() else None)
    return pd.Series(found, index=group.index, dtype=object)


def _name(row) -> str:
    return row.row if row.placement == "-" else f"{row.row} ({row.placement})"


def _figure(table: pd.DataFrame, cost: str):
    """A panel a data set, protocol and setting: filled dots are beaten by no other, and joined; the numbers of the dots
    stand with their names in the legend, the cheapest first."""
    groups = list(table.groupby(["data", "metric", "protocol", "setting"], sort=False))
    lines = [sum(1 + wrapped(_name(row)).count("\n") for row in group.itertuples()) for _, group in groups]
    height = max(4, 0.19 * (2 + max(lines)))  # inches of a panel, which holds its legend
    fig, axes = new_figure(9, height * len(groups), len(groups), 1)
    for ax, ((data, metric, protocol, setting), group) in zip(axes[:, 0], groups, strict=True):
        group = group.sort_values([cost, "score"], kind="stable")
        front = group[group.beaten_by.isna()]
        ax.scatter(group[cost], group.score, s=24, facecolors="none", edgecolors="0.5")
        ax.plot(front[cost], front.score, color="C0", lw=1, marker="o", ms=5, drawstyle="steps-post")
        spread_out(ax, group[cost])
        for number, row in enumerate(group.itertuples(), 1):
            colour = "C0" if row.beaten_by is None else "0.3"
            at = getattr(row, cost), row.score
            ax.annotate(str(number), at, color=colour, fontsize="x-small", xytext=(4, 3), textcoords="offset points")
            dot = dict(color="C0") if row.beaten_by is None else dict(color="0.5", mfc="none")
            ax.plot([], [], ls="", marker="o", ms=5, **dot, label=wrapped(f"{number}  {_name(row)}"))
        ax.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
        ax.set_xlabel(cost)
        ax.set_ylabel(metrics.heading(metric))
        ax.set_title(f"{data}, {protocol}, {setting}", fontsize="small")
    return fig
