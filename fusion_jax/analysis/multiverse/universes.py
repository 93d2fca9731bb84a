"""The universes of a study: values of every key of its config but the fusion, each with a row of either side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fusion_jax.results import tables
from fusion_jax.results.families import is_named, usable
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store
from fusion_jax.study import flatten, short
from fusion_jax.study.identity import NOT_IDENTITY
from fusion_jax.zoo import nearest

USUAL = "usual"  # an empty value, which leaves it to the data set or switches off


class Universe(NamedTuple):
    """The two rows that stand in one universe."""

    choices: dict[str, str]
    better: Row
    than: Row


def placed_rows(store: Store, metric: str) -> list[tuple[Row, dict[str, Any]]]:
    """Rows of fusions with a score, each with {key: value} of its config without the fusion and what tuning chose.

    Raises:
        ValueError: a metric that no row has, or no row has a score.
    """
    entries = {entry["id"]: entry for entry in store.read_study()["cells"]}
    rows = [row for row in tables.rows(store) if row.cell in entries and row.fusion and row.values]
    known = sorted({m for row in rows for m in row.values})
    if metric and metric not in known:
        raise ValueError(f"multiverse: no row has the metric {metric!r}{nearest(metric, known)}; found: {known}")
    rows = [row for row in rows if usable(row, metric or row.primary)]
    if not rows:
        raise ValueError("multiverse: no finished row of a fusion has a score")
    return [(row, _setting(entries[row.cell])) for row in rows]


def _setting(entry: Mapping[str, Any]) -> dict[str, Any]:
    free = *(f"{key}." for key in NOT_IDENTITY), *(f"{key}." for key in entry.get("tuned", {}).get("chosen", ()))
    free += ("model.fusion.",)
    return {k: v for k, v in flatten(entry["config"]).items() if not f"{k}.".startswith(free)}


def is_of(row: Row, side: str) -> bool:
    """Whether a row is of that fusion or has that label, whatever its name says behind it of other keys."""
    return row.fusion == side or is_named(row, side) or row.name.startswith(f"{side}, ")


def universes_of(placed: list[tuple[Row, dict[str, Any]]], better: str, than: str) -> tuple[list[Universe], int]:
    """The universes that have both sides, in the order of the study, and the number of those that have one.

    Raises:
        ValueError: one row is of both sides, or a side has several rows in one universe.
    """
    sides: dict[str, dict[str, Row]] = {}
    settings = {}
    for row, setting in placed:
        key = json.dumps(setting, sort_keys=True, default=str)
        mine = [field for field, side in (("better", better), ("than", than)) if is_of(row, side)]
        if len(mine) > 1:
            raise ValueError(f"multiverse: better={better!r} and than={than!r} are both the row {row.name!r}")
        for field in mine:
            held = sides.setdefault(key, {})
            settings[key] = setting
            if field in held:
                side = better if field == "better" else than
                raise ValueError(
                    f"multiverse: {field}={side!r} stands for several rows of one universe, {held[field].name!r} and "
                    f"{row.name!r}; expected the label of one"
                )
            held[field] = row
    both = [key for key, held in sides.items() if len(held) == 2]
    choices = _told_apart([settings[key] for key in both])
    found = [Universe(choice, **sides[key]) for choice, key in zip(choices, both, strict=True)]
    return found, len(sides) - len(both)


def _told_apart(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """{choice: value} of every universe, of keys whose values differ.

    Options of a mechanism are told with its name, and a key whose values follow from those of another (a layer, and how
    many of it) with that one: the universes cannot tell the two apart.
    """
    keys = dict.fromkeys(key for setting in settings for key in setting)
    columns = {key: [_text(setting.get(key)) for setting in settings] for key in keys}
    columns = {key: texts for key, texts in columns.items() if len(set(texts)) > 1}
    for key in list(columns):
        section, dot, option = key.rpartition(".options.")
        if dot and (name := f"{section}.name") in columns:
            texts = columns.pop(key)
            if not _follows(texts, columns[name]):
                columns[name] = _told_with(columns[name], option, texts)
    kept: dict[str, list[str]] = {}
    for key in sorted(columns, key=lambda key: -len(set(columns[key]))):
        of = next((other for other in kept if _follows(columns[key], columns[other])), None)
        if of is None:
            kept[key] = columns[key]
        else:
            kept[of] = _told_with(kept[of], key.removesuffix(".name").rpartition(".")[2], columns[key])
    order = [key for key in columns if key in kept]
    return [{key.removesuffix(".name"): kept[key][i] for key in order} for i in range(len(settings))]


def _follows(texts: Sequence[str], of: Sequence[str]) -> bool:
    """Whether every text of the other column stands beside one text only."""
    return len(set(zip(of, texts, strict=True))) == len(set(of))


def _told_with(texts: Sequence[str], name: str, values: Sequence[str]) -> list[str]:
    return [f"{t}, {name}={v}" if v != USUAL else t for t, v in zip(texts, values, strict=True)]


def _text(value: Any) -> str:
    empty = value is None or (not isinstance(value, bool | int | float) and not value)
    return USUAL if empty else str(short(value))
