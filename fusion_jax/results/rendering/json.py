"""All that a report says, for programs: the answer, every row seed by seed, every comparison."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion_jax.results.claims import Answered
from fusion_jax.results.compare import Comparison
from fusion_jax.results.rendering import csv as flat
from fusion_jax.results.rendering.claims import as_dict
from fusion_jax.results.rendering.table import COSTS, Table, name
from fusion_jax.results.row import Row

FORMAT = 1  # of the file; a field that changes its meaning raises it
OF_ROWS = ("a", "b")  # fields of a comparison that are rows


def as_json(
    sentence: str,
    rows: Sequence[Row],
    made: Sequence[Table],
    claims: Sequence[Answered] = (),
    stated: Mapping[str, Any] | None = None,
) -> str:
    """The file's text: format, sentence, claims, rows, comparisons; null for what is not there.

    `stated` says when the claims were written, with which hash, and what was changed since.

    A row has its cell, what it is, its costs, and of every metric mean, spread and the values by seed; a comparison
    the numbers of its two rows in the list, and the fields of `compare.Comparison`.
    """
    numbers = {id(row): i for i, row in enumerate(rows)}
    compared = [c for t in made for found in t.compared.values() for c in found.values()]
    held = dict(
        format=FORMAT,
        sentence=sentence,
        claims=[as_dict(one) for one in claims],
        claims_stated=stated or {},
        rows=[_row(row) for row in rows],
        comparisons=[_comparison(c, numbers) for c in compared],
    )
    return json.dumps(plain(held), indent=1, allow_nan=False) + "\n"


def _row(row: Row) -> dict[str, Any]:
    scores = {m: flat.spread(row, m) | dict(seeds=row.by_seed(m)) for m in row.values}
    scores |= {m: dict(mean=mean, sd=sd) for m, (mean, sd) in row.published.items()}
    found = {k: v for k, v in flat.about(row).items() if k not in (*COSTS, "variant")}
    about = dict(name=name(row), label=row.label, variant=row.variant, role=row.role, fusion=row.fusion, cell=row.cell)
    tuned = dict(trials=row.trials, chosen=row.chosen)
    return about | found | tuned | dict(costs={c: getattr(row, c) for c in COSTS}, metrics=scores)


def _comparison(found: Comparison, numbers: Mapping[int, int]) -> dict[str, Any]:
    fields = {f.name: getattr(found, f.name) for f in dataclasses.fields(found) if f.name not in OF_ROWS}
    fields |= dict(better=bool(found.better), worse=bool(found.worse))
    return dict(row=numbers[id(found.a)], baseline=numbers[id(found.b)], **fields)


def plain(value: Any) -> Any:
    """What JSON has for a value: null for NaN and infinities, keys as text."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
