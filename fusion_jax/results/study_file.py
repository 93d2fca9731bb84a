"""Whether study.json holds what a study's folder keeps there: types, ranges, and the claims as they were written.

A file that was cut, merged or edited by hand is valid JSON still; what is wrong with it is said where it is read, by
its field, and not where somebody stumbles over it.
"""

from __future__ import annotations

import contextlib
import functools
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fusion_jax import plan
from fusion_jax.folders import Damaged, is_name
from fusion_jax.study import OPEN, claim_of, defaults
from fusion_jax.study.claims import is_number
from fusion_jax.study.layout import of_today
from fusion_jax.study.ranges import MOST

LOOKS = 1000  # at most; the levels of so many take a minute
_HALF = re.compile("[\ud800-\udfff]")
Known = Callable[[Any], bool]


def checked(study: Any, file: str) -> dict[str, Any]:
    """The study of a file, its configs in the layout of today.

    Raises:
        Damaged: a field is missing, or is nothing that it can be; names file and field, its value, what was expected.
    """
    with _named(file):
        return _checked(study)


def checked_config(config: Any, file: str) -> dict[str, Any]:
    """The config of a cell's own file, in the layout of today. Raises as `checked`."""
    with _named(file):
        _expect(isinstance(config, dict), "the file", config, "the config of a cell")
        return _config(config, "the config")


@contextlib.contextmanager
def _named(file: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise Damaged(f"{file}: {error}") from error
    except RecursionError as error:
        raise Damaged(f"{file}: lists or dictionaries within each other are more than Python can go through") from error


def _checked(study: Any) -> dict[str, Any]:
    _expect(isinstance(study, dict), "the file", study, "a dictionary with a list of cells")
    held = _Fields(study)
    held.has("source", _text, "a text", needed=False)
    held.has("schema", _whole(1), "a whole number", needed=False)
    cells = [_cell(cell, f"cells[{i}]") for i, cell in held.each("cells")]
    for i, row in held.each("published", needed=False):
        _published(row, f"published[{i}]")
    for i, version in held.each("claims", needed=False):
        _version(version, f"claims[{i}]")
    if "looks" in study:
        _looks(study["looks"])
    return {**study, "cells": cells}


def _cell(cell: Any, at: str) -> dict[str, Any]:
    held = _Fields(cell, at)
    held.has("id", is_name, "the name of a folder")
    held.has("label", _text, "a text")
    held.has("seeds", _whole(1, MOST["seeds"]), f"a whole number from 1 to {MOST['seeds']}")
    held.has("config", _record, "a dictionary")
    if "tuned" in cell:
        tuned = _Fields(cell["tuned"], f"{at}.tuned")
        tuned.has("trials", _whole(0), "a whole number", needed=False)
        tuned.has("chosen", _record, "a dictionary", needed=False)
        for name in ("name", "asked"):
            tuned.has(name, _text, "a text", needed=False)
    return {**cell, "config": _config(cell["config"], f"{at}.config")}


def _config(config: dict[str, Any], at: str) -> dict[str, Any]:
    """The config in the layout of today, from which a plan can be made."""
    try:
        _like(config, _defaults(), at)  # sections are ones before anything is put into them
        today = of_today(config)
        _like(today, _defaults(), at)
        plan.of(today)
    except (KeyError, AttributeError, TypeError) as error:
        what = f"the key {error} is missing" if isinstance(error, KeyError) else str(error).replace("__init__() ", "")
        raise ValueError(f"{at}: {what}; expected the keys of a cell's config") from error
    return today


@functools.cache
def _defaults() -> Mapping[str, Any]:
    return defaults.get_config().to_dict()


def _like(section: Mapping[str, Any], like: Mapping[str, Any], at: str) -> None:
    """Raises ValueError where a key has a value of another type than its default."""
    for key, default in like.items():
        if key not in section:
            continue  # the plan says so, where there is no default for it
        value, name = section[key], f"{at}.{key}"
        kinds = {dict: (dict,), tuple: (list, tuple), float: (int, float)}.get(type(default), (type(default),))
        fine = isinstance(value, kinds) and isinstance(value, bool) is isinstance(default, bool)
        _expect(fine, name, value, " or ".join(kind.__name__ for kind in kinds))
        if isinstance(default, dict) and key not in OPEN:
            _like(value, default, name)


def _published(row: Any, at: str) -> None:
    held = _Fields(row, at)
    for name in ("label", "source", "data"):
        held.has(name, _text, "a text")
    held.has("protocol", _text, "a text", needed=False)
    held.has("values", _record, "{metric: [mean, standard deviation or null]}")
    for metric, pair in row["values"].items():
        fine = (
            isinstance(pair, list) and len(pair) == 2 and is_number(pair[0]) and (pair[1] is None or is_number(pair[1]))
        )
        _expect(fine, f"{at}.values.{metric}", pair, "[mean, standard deviation or null]")


def _version(version: Any, at: str) -> None:
    held = _Fields(version, at)
    held.has("sha256", _text, "the sha256 of the claims")
    held.has("written", _text, "the time when they were written")
    held.has("finished_seeds", _whole(0), "a whole number, 0 or more")
    for i, claim in held.each("claims"):
        claim_of(claim, f"{at}.claims[{i}]")


def _looks(looks: Any) -> None:
    held, most = _Fields(looks, "looks"), MOST["seeds"]
    plan = looks.get("plan")
    fine = isinstance(plan, list) and 0 < len(plan) <= LOOKS and all(map(_whole(2, most), plan))
    fine = fine and all(a < b for a, b in zip(plan, plan[1:], strict=False))
    _expect(fine, "looks.plan", plan, f"rising whole numbers of seeds from 2 to {most}, at most {LOOKS} of them")
    for i, taken in held.each("taken", needed=False):
        one = _Fields(taken, f"looks.taken[{i}]")
        one.has("seeds", _whole(1), "a whole number")
        for name in ("decided", "undecided"):
            one.has(name, lambda v: isinstance(v, list) and all(map(_text, v)), "a list of texts")


class _Fields:
    """The fields of a dictionary. Raises ValueError where it is none."""

    def __init__(self, held: Any, at: str = ""):
        _expect(isinstance(held, dict), at, held, "a dictionary")
        self.held, self.at = held, f"{at}." if at else ""

    def has(self, name: str, known: Known, expected: str, needed: bool = True) -> None:
        """Raises ValueError where the field is no such value."""
        if name in self.held:
            _expect(known(self.held[name]), self.at + name, self.held[name], expected)
        elif needed:
            raise ValueError(f"{self.at}{name} is missing; expected {expected}")

    def each(self, name: str, needed: bool = True) -> Iterator[tuple[int, Any]]:
        """The entries of a list with their places. Raises ValueError where the field is none."""
        self.has(name, lambda value: isinstance(value, list), "a list", needed)
        return enumerate(self.held.get(name, ()))


def _expect(fine: bool, at: str, value: Any, expected: str) -> None:
    if not fine:
        raise ValueError(f"{at} is {reprlib.repr(value)}; expected {expected}")


def _text(value: Any) -> bool:
    """Half a character (a lone surrogate) is fine in JSON, and cannot be written anywhere else."""
    return isinstance(value, str) and not _HALF.search(value)


def _record(value: Any) -> bool:
    return isinstance(value, dict)


def _whole(least: int, most: int = 10**9) -> Known:
    return lambda value: type(value) is int and least <= value <= most
