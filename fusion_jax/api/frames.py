"""Rows and comparisons as pandas tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fusion_jax import metrics
from fusion_jax.results import tables
from fusion_jax.results.compare import Comparison
from fusion_jax.results.row import Row

WHERE = ("data", "protocol", "setting")  # columns of what all rows have in common are left out


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """A line a row: of every metric the mean over seeds and the sample standard deviation, then seeds and costs."""
    shown = list(dict.fromkeys(m for group in tables.grouped(list(rows)).values() for m in tables.columns(group)))
    found = pd.DataFrame([_line(row, shown) for row in rows]).pipe(_without_constants)
    return found.astype({"parameters": "Int64"} if "parameters" in found else {})


def _line(row: Row, shown: Sequence[str]) -> dict:
    line = dict(variant=row.label, placement=row.placement, data=row.data, protocol=row.protocol, setting=row.setting)
    for metric in shown:
        values = row.values.get(metric)
        mean, deviation = row.published.get(metric, (np.nan, None))
        if values is not None:
            mean, deviation = np.mean(values), np.std(values, ddof=1) if len(values) > 1 else None
        line[metric], line[f"{metric} sd"] = mean, np.nan if deviation is None else deviation
    seeds = max((len(v) for v in row.values.values()), default=0)
    return line | dict(seeds=seeds, parameters=row.parameters, seconds=row.seconds, error=row.error)


def compared(found: Sequence[Comparison]) -> pd.DataFrame:
    """A line a comparison: the difference a - b with its 95 % interval and p values, before and after Holm."""
    made = pd.DataFrame([_comparison(c) for c in found]).pipe(_without_constants)
    return made.astype({"seeds_needed": "Int64"} if "seeds_needed" in made else {})


def _comparison(c: Comparison) -> dict:
    gain = metrics.sign(c.metric) * c.difference
    verdict = "better" if c.better else "worse" if c.worse else "not separated"
    return dict(
        variant=c.a.label,
        placement=c.a.placement,
        against=c.b.label,
        against_placement=c.b.placement,
        data=c.a.data,
        protocol=c.a.protocol,
        setting=c.a.setting,
        metric=c.metric,
        difference=c.difference,
        low=c.low,
        high=c.high,
        verdict=verdict if np.isfinite(gain) else "not known",
        adjusted_p=c.adjusted,
        p=c.p,
        wilcoxon_p=c.wilcoxon,
        permutation_p=c.permutation,
        effect=c.effect,
        improvement=c.improvement,
        seeds=len(c.seeds),
        seeds_needed=c.needed,
        method=c.method,
    )


def _without_constants(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the columns of WHERE that say the same of every line, and without an empty column of errors."""
    drop = [c for c in WHERE if c in frame and frame[c].nunique() < 2]
    drop += ["error"] if "error" in frame and not frame["error"].any() else []
    return frame.drop(columns=drop)
