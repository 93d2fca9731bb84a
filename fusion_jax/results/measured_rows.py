"""Rows that are not trained but measured on the trained cells of a study: a merging's, or an analysis's, seed by seed.

They stand in measured.json of the study's folder, with a digest of the results they were measured on: they are rows of
the study as long as these results are there. Claims may name them; no table has them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence

import numpy as np

from fusion_jax.folders import Damaged
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store, read_json, write_json
from fusion_jax.study.claims import is_number

FILE = "measured.json"
Values = Mapping[str, Mapping[int, float]]  # {metric: {seed: value}}


def digest(store: Store, cells: Sequence[str]) -> str:
    """sha256 of all that the records of cells say of their results."""
    held = [[cell, store.record(cell)] for cell in cells]
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()


def write(store: Store, found: Mapping[str, tuple[str, Values]], *, by: str, seconds: float) -> None:
    """Writes the rows, all of them or nothing.

    Args:
        found: {row: (identity of the cell that it was measured on, its values)}.
        by: what measured them, such as the sha256 of its file.
        seconds: what it took.
    """
    rows = {
        name: dict(cell=cell, values={m: {str(s): float(v) for s, v in v.items()} for m, v in values.items()})
        for name, (cell, values) in found.items()
    }
    for name, one in rows.items():
        one["sha256"] = _digest(name, one)
    on = digest(store, [cell for cell, _ in found.values()])
    write_json(store.root / FILE, dict(rows=rows, results=on, by=by, seconds=seconds))


def _digest(name: str, one: Mapping) -> str:
    return hashlib.sha256(json.dumps([name, one["cell"], one["values"]], sort_keys=True).encode()).hexdigest()


def is_current(store: Store, by: str) -> bool:
    """Whether rows are there, measured `by` that on the results that are there now. Raises as `rows`."""
    held = _read(store)
    return held is not None and held["by"] == by and _fits(store, held)


def seconds(store: Store) -> float:
    """What it took to measure them; 0 where there are none. Raises as `rows`."""
    held = _read(store)
    return 0.0 if held is None else float(held["seconds"])


def rows(store: Store, found: Sequence[Row]) -> list[Row]:
    """The measured rows, each of the data set, protocol and splits of its cell's row among those `found`.

    Seeds that its cell's row does not have are left out, as they are there; what is lacking beside it is said.

    Raises:
        Damaged: the file is not what was written; names it.
    """
    held = _read(store)
    if held is None or not _fits(store, held):
        return []
    by_cell = {row.cell: row for row in found if row.cell}
    made = [
        _row(name, one["values"], by_cell[one["cell"]])
        for name, one in held["rows"].items()
        if one["cell"] in by_cell and by_cell[one["cell"]].values
    ]
    return [row for row in made if row.seeds]


def _row(name: str, values: Mapping[str, Mapping[str, float]], of: Row) -> Row:
    there = of.seeds or range(len(next(iter(of.values.values()))))
    seeds = tuple(sorted({int(s) for v in values.values() for s in v} & set(there)))
    at = [there.index(s) for s in seeds]
    return dataclasses.replace(
        of,
        label=name if len(seeds) == len(there) else f"{name} ({len(seeds)} of {len(there)} seeds)",
        variant=name,
        values={m: np.array([v.get(str(s), np.nan) for s in seeds]) for m, v in values.items()},
        primary=next(iter(values)),
        seeds=seeds,
        train_rows=tuple(of.train_rows[i] for i in at) if of.train_rows else (),
        test_rows=tuple(of.test_rows[i] for i in at) if of.test_rows else (),
        splits=tuple(of.splits[i] for i in at) if of.splits else (),
        cell="",
        role="",
        fusion="",
        parameters=None,
        seconds=None,
        influence={},
        met=None,
        met_influence={},
        calibration=None,
    )


def _fits(store: Store, held: Mapping) -> bool:
    cells = [one["cell"] for one in held["rows"].values()]
    there = all((store.cell(cell) / "record.json").exists() for cell in cells)
    return there and digest(store, cells) == held["results"]


def _read(store: Store) -> dict | None:
    path = store.root / FILE
    if not path.exists():
        return None
    held = read_json(path)
    whole = isinstance(held, dict) and set(held) == {"rows", "results", "by", "seconds"}
    if not whole or not isinstance(held["rows"], dict) or not all(map(_is_row, held["rows"].values())):
        raise Damaged(f"{os.fspath(path)} is damaged: expected rows, results, by and seconds")
    if not is_number(held["seconds"]) or not math.isfinite(held["seconds"]):
        raise Damaged(f"{os.fspath(path)} is damaged: seconds is {held['seconds']!r}; expected a number")
    for name, one in held["rows"].items():
        if "sha256" in one and one["sha256"] != _digest(name, one):  # older ones have none
            raise Damaged(f"{os.fspath(path)} is damaged: the values of {name!r} are not those that were written")
    return held


def _is_row(one: object) -> bool:
    if not isinstance(one, dict) or not str(one.get("cell", "/")).isalnum() or not isinstance(one.get("values"), dict):
        return False
    return bool(one["values"]) and all(
        isinstance(by_seed, dict)
        and all(s.isdigit() and isinstance(v, float) and math.isfinite(v) for s, v in by_seed.items())
        for by_seed in one["values"].values()
    )
