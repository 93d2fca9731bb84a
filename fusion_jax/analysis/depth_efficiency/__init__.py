"""Whether a deeper or a wider fusion is better at the same number of parameters, and from which size on.

Reference: Levine et al., "Limits to Depth Efficiencies of Self-Attention" ("The Depth-to-Width Interplay in
Self-Attention"), NeurIPS 2020 (arXiv 2006.12467). No code is known: golden `depth-efficiency` is independent NumPy.
"""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import numpy as np
import pandas as pd

from fusion_jax import metrics, zoo
from fusion_jax.analysis.base import Report
from fusion_jax.analysis.depth_efficiency import crossings, rule
from fusion_jax.records import Info
from fusion_jax.results import tables
from fusion_jax.results.figures import new_figure, style
from fusion_jax.results.restore import restore
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store
from fusion_jax.study import short
from fusion_jax.training.compilation import own_settings

INFO = Info(
    "Levine et al., Limits to Depth Efficiencies of Self-Attention",
    2020,
    golden="depth-efficiency",
    cost="O(resamples P) for P pairs of depths; with ranks a forward pass and an SVD a cell",
)
OF = "study"
CHECKED_WITH = tuple(
    {"model.fusion.name": "node_token", "model.fusion.options": dict(blocks=blocks, heads=2), "model.dim": dim}
    for blocks in (1, 2)
    for dim in (4, 6)
)
OPTIONS = ("layers", "blocks", "depth")  # what mechanisms call their depth
BELOW, ABOVE, APART = "below the sizes", "above the sizes", "no common sizes"
NOTE = (
    "N = 12 L d^2 counts the blocks alone, theory_depth is log_3 d and fit_depth the depth the paper's fit gives a "
    "width, if it gives one. Scores are means over seeds on test rows, read along straight lines in log N, and nowhere "
    "outside the sizes that both depths have. A crossing is where the deeper network is better from there on; its "
    "interval is that of 95 % of resamples of the seeds, of which the share inside has a crossing there. The fit ln d "
    "= a + b L is to the crossings of neighbouring depths, d the width of the shallower. The paper's sizes are far "
    "above these and its sequences longer: that both regimes exist can be compared, a and b cannot be expected to "
    "agree. A depth looks bad too where its training was too short or its learning rate not its own."
)


@own_settings()
def depth_efficiency(
    store: Store, *, option: str = "", metric: str = "", resamples: int = 1000, ranks: bool = False
) -> Report:
    """Score against size for every depth of a fusion, and where the curves of depths cross.

    The table "points" has a row a cell, "crossings" one for every pair of depths, "fit" a and b of this study (with
    intervals) and of the paper. Cells that differ in more than depth and width are compared within their own group.

    Args:
        option: the fusion's option that is its depth; "" for the first it has of layers, blocks and depth.
        metric: the score; "" for the one that ranks the rows of the task.
        resamples: of the seeds.
        ranks: whether each cell's best model is restored for the table "ranks": the effective rank of what its last
            fusion returns, exp of the entropy of the normalised singular values of [N, D].
    Raises:
        ValueError: an option that no fusion of the study has, a metric that no row has, fewer than 1 resample, or no
            two depths of a fusion with two sizes each.
    """
    if type(resamples) is not int or resamples < 1:
        raise ValueError(f"depth_efficiency: resamples={resamples!r}; expected a whole number, at least 1")
    points = _points(store, option, metric)
    groups = [(name, _curves(group)) for name, group in points.groupby("group", sort=False)]
    groups = [(name, curves) for name, curves in groups if len(curves) > 1]
    if not groups:
        shown = ", ".join(sorted({f"depth {p.depth} at width {p.width}" for p in points.itertuples()}))
        raise ValueError(
            f"depth_efficiency compares two depths or more of one fusion, each at two widths or more; found: {shown}"
        )
    crossed, fits = [], []
    for name, curves in groups:
        found, drawn = _compared(curves, resamples)
        crossed += [dict(group=name, **line) for line in found]
        fits.append(dict(group=name, **drawn))
    fits.append(dict(group="the paper", crossings=np.nan, a=rule.A, b=rule.B))
    columns = ["crossings", "a", "a_low", "a_high", "b", "b_low", "b_high"]
    found = {
        "points": points.drop(columns=["by_seed"]),
        "crossings": pd.DataFrame(crossed),
        "fit": pd.DataFrame(fits).reindex(columns=["group", *columns]),
    }
    if ranks:
        found["ranks"] = pd.DataFrame([_ranked(store, point) for point in points.itertuples()])
    figures = {"sizes": functools.partial(_figure, points, [name for name, _ in groups])}
    return Report(found, _sentence(found), figures, note=NOTE)


def _points(store: Store, option: str, metric: str) -> pd.DataFrame:
    """A row a finished cell of a fusion with a depth."""
    entries = {entry["id"]: entry["config"] for entry in store.read_study()["cells"]}
    rows = [row for row in tables.rows(store) if row.cell in entries and row.values and row.fusion and not row.trials]
    known = sorted({m for row in rows for m in row.values})
    if metric and metric not in known:
        guess = zoo.nearest(metric, known)
        raise ValueError(f"depth_efficiency: no row has the metric {metric!r}{guess}; found: {known}")
    lines = [_point(store, row, entries[row.cell], option, metric or row.primary) for row in rows]
    lines = [line for line in lines if line is not None]
    if not lines:
        fusions = ", ".join(sorted({repr(row.fusion) for row in rows})) or "none"
        what = f"an option {option!r}" if option else f"one of the options {', '.join(OPTIONS)}"
        raise ValueError(f"depth_efficiency: no finished cell's fusion has {what}; found fusions: {fusions}")
    points = pd.DataFrame(lines)
    for name, group in points.groupby("group", sort=False):
        kinds = list(group.rest.unique())
        if len(kinds) > 1:
            points.loc[group.index, "group"] = [f"{name} ({kinds.index(rest) + 1})" for rest in group.rest]
    return points.drop(columns="rest")


def _point(store: Store, row: Row, config: dict[str, Any], option: str, metric: str) -> dict | None:
    usual, given = zoo.options("fusion", row.fusion), dict(config["model"]["fusion"]["options"])
    name = next((o for o in ([option] if option else OPTIONS) if type(usual.get(o)) is int), None)
    values = row.values.get(metric)
    if name is None or values is None or not np.isfinite(values).all():
        return None
    depth, width = int(given.pop(name, usual[name])), int(store.costs(row.cell)[0]["dim"])
    rest = [f"{k}={v}" for k, v in sorted(given.items())]
    group = ", ".join([short(row.fusion), row.placement, row.data, row.protocol, row.setting, *rest])
    return dict(
        group=group,
        cell=row.cell,
        depth=depth,
        width=width,
        block_parameters=float(rule.block_parameters(depth, width)),
        parameters=row.parameters,
        metric=metric,
        score=float(values.mean()),
        std=float(values.std(ddof=1)) if len(values) > 1 else np.nan,
        theory_depth=float(rule.theory_depth(width)),
        fit_depth=_depth_of(width),
        by_seed=row.by_seed(metric),
        rest=_rest(config, given),
    )


def _depth_of(width: int) -> float:
    """The depth that the paper's fit gives a width; NaN below 1, for widths smaller than any of the fit."""
    depth = float(rule.transition_depth(width))
    return depth if depth >= 1 else np.nan


def _rest(config: dict[str, Any], options: dict[str, Any]) -> str:
    """All that two cells of a group have alike beside what it is called after; how each is trained is its own."""
    model = {k: v for k, v in config["model"].items() if k != "dim"}
    model["fusion"] = dict(model["fusion"], options=options)
    kept = {k: v for k, v in config.items() if k not in ("label", "seeds", "size", "optimizer", "training")}
    return json.dumps(dict(kept, model=model), sort_keys=True, default=str)


def _curves(group: pd.DataFrame) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """{depth: (log N [B], scores [B, S], larger is better)} of the depths with two sizes, by the seeds all have."""
    sign = metrics.sign(group.metric.iloc[0])
    seeds = sorted(set.intersection(*(set(held) for held in group.by_seed)))
    curves = {}
    for depth, own in group.groupby("depth"):
        own = own.drop_duplicates("width").sort_values("width")
        if len(own) > 1 and seeds:
            scores = np.array([[sign * held[seed] for seed in seeds] for held in own.by_seed])
            curves[int(depth)] = np.log(own.block_parameters.to_numpy()), scores
    return curves


def _compared(curves: dict, resamples: int) -> tuple[list[dict], dict]:
    """The lines of the pairs, and that of the fit."""
    whole = crossings.all_crossings({depth: (n, scores.mean(1)) for depth, (n, scores) in curves.items()})
    drawn = crossings.resampled(curves, resamples)
    lines = []
    for (shallow, deep), found in whole.pairs.items():
        line = dict(shallow=shallow, deep=deep)
        if found is None:
            lines.append(line | dict(where=APART))
            continue
        again = [one.pairs[shallow, deep].log_n for one in drawn]
        low, high = (math.exp(v) if np.isfinite(v) else np.nan for v in crossings.interval(again))
        inside = np.isfinite(found.log_n)
        n = math.exp(found.log_n) if inside else np.nan
        lines.append(
            line
            | dict(
                where="inside" if inside else BELOW if found.log_n < 0 else ABOVE,
                block_parameters=n,
                low=low,
                high=high,
                inside=float(np.isfinite(again).mean()) if again else np.nan,
                changes=found.changes,
                width_shallow=math.sqrt(n / (12 * shallow)),
                width_deep=math.sqrt(n / (12 * deep)),
            )
        )
    a, b = ([one.fit[i] for one in drawn] for i in range(2))
    fitted = np.isfinite(whole.fit[0])  # else the few resamples that have a fit say nothing of how it varies
    (a_low, a_high), (b_low, b_high) = (crossings.interval(v if fitted else []) for v in (a, b))
    depths = sorted(curves)
    used = sum(line["where"] == "inside" and line["deep"] == _next(depths, line["shallow"]) for line in lines)
    return lines, dict(
        crossings=float(used),
        a=whole.fit[0],
        a_low=a_low,
        a_high=a_high,
        b=whole.fit[1],
        b_low=b_low,
        b_high=b_high,
    )


def _next(depths: list[int], depth: int) -> int:
    return min(d for d in depths if d > depth)


def effective_rank(states: np.ndarray) -> float:
    """exp of the entropy of the singular values of [N, D] divided by their sum; 0 for zeros."""
    values = np.linalg.svd(np.asarray(states, np.float64), compute_uv=False)
    if not values.sum() > 0:
        return 0.0
    share = values / values.sum()
    return float(np.exp(-np.where(share > 0, share * np.log(np.where(share > 0, share, 1)), 0).sum()))


def _ranked(store: Store, point) -> dict:
    cell = restore(store, point.cell)
    place = cell.place()
    states = cell.output(place).history
    rank = effective_rank(states[-1]) if states else np.nan
    about = dict(group=point.group, cell=point.cell, depth=point.depth, width=point.width, seed=cell.seeds[place])
    return about | dict(effective_rank=rank)


def _sentence(found: dict[str, pd.DataFrame]) -> str:
    pairs = found["crossings"]
    counts = {where: int((pairs["where"] == where).sum()) for where in ("inside", BELOW, ABOVE)}
    said = (
        f"Of {len(pairs)} pairs of depths at equal size the deeper is better at every size in {counts[BELOW]}, at the "
        f"largest sizes only in {counts['inside']} and not even at the largest in {counts[ABOVE]}"
    )
    fits = found["fit"].iloc[:-1]
    fits = fits[np.isfinite(fits.a)]
    if not len(fits):
        return said + "; too few neighbouring depths cross for a fit."
    one = fits.iloc[0]
    line = f"ln d = {one.a:.3f} + {one.b:.3f} L (the paper's: {rule.A} + {rule.B} L)"
    return f"{said}; crossings of neighbouring depths lie on {line}."


def _figure(points: pd.DataFrame, groups: list[str]):
    """Score against N, a panel a group, a line a depth."""
    fig, axes = new_figure(6, 3.8 * len(groups), len(groups), 1)
    for name, ax in zip(groups, axes[:, 0], strict=True):
        group = points[points.group == name]
        for i, (depth, own) in enumerate(group.groupby("depth")):
            own = own.sort_values("block_parameters")
            ax.plot(own.block_parameters, own.score, label=f"L={depth}", **style(i))
        ax.set_xscale("log")
        ax.set_xlabel("parameters of the blocks, 12 L d²")
        ax.set_ylabel(metrics.heading(group.metric.iloc[0]))
        ax.set_title(name, fontsize="x-small")
        ax.legend(fontsize="small")
    return fig
