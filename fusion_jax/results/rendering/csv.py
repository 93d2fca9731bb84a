"""All rows with full precision, a line each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fusion_jax.results import tables
from fusion_jax.results.compare import Comparison
from fusion_jax.results.rendering.table import Table, name
from fusion_jax.results.row import Row


def csv(table: Sequence[Row], made: Sequence[Table] = ()) -> str:
    """Of every row and metric mean, sd, interval (over seeds: low, high; over fixed test rows: rows_low, rows_high) and
    number of seeds; with the tables they are of also what the metric that ranks says against the baseline."""
    compared = {id(c.a): c for t in made for c in t.compared.get(t.lead, {}).values()}
    records = []
    for row in table:
        record = about(row) | {k: v for m in row.published for k, v in _published(row, m).items()}
        for metric in row.values:
            record |= {f"{metric}_{key}": value for key, value in spread(row, metric).items()}
            record["seeds"] = len(row.values[metric])
        records.append(record | _against(compared.get(id(row))))
    buffer = io.StringIO()
    pd.DataFrame(records).to_csv(buffer, index=False)
    return buffer.getvalue()


def about(row: Row) -> dict[str, Any]:
    """What a row is, without its scores."""
    return dict(
        data=row.data,
        protocol=row.protocol,
        setting=row.setting,
        variant=row.label,
        placement=row.placement,
        parameters=row.parameters,
        seconds=row.seconds,
        flops=row.flops,
        peak_bytes=row.peak_bytes,
        compile_seconds=row.compile_seconds,
        error=row.error,
        source=row.source,
        test_rows=None if row.tested is None else len(row.tested),
    )


def spread(row: Row, metric: str) -> dict[str, float]:
    """mean, low, high, sd of a metric over seeds; rows_low, rows_high where the test rows are fixed."""
    values = row.values[metric]
    low, high = tables.interval(values)
    found = dict(mean=np.mean(values), low=low, high=high, sd=np.std(values, ddof=1) if len(values) > 1 else np.nan)
    of_rows = tables.of_rows(row, metric)
    return found if of_rows is None else found | dict(rows_low=of_rows[0], rows_high=of_rows[1])


def _published(row: Row, metric: str) -> dict[str, Any]:
    mean, sd = row.published[metric]
    return {f"{metric}_mean": mean, f"{metric}_sd": sd}


def _against(found: Comparison | None) -> dict[str, Any]:
    if found is None:
        return {}
    return dict(
        baseline=name(found.b),
        metric=found.metric,
        difference=found.difference,
        difference_low=found.low,
        difference_high=found.high,
        p=found.p,
        p_adjusted=found.adjusted,
        method=found.method,
    )
