"""What the data sets of a study are called in its tables."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

from fusion_jax import zoo
from fusion_jax.data import places
from fusion_jax.plan import DataPlan, Named
from fusion_jax.study import short


def problem(part: DataPlan) -> str:
    """What makes two cells' data different problems: rows that differ in this are not in one table."""
    lacks = [part.missing.name, part.missing.options] if part.missing.name else []
    return json.dumps([part.name, part.options, *lacks], sort_keys=True)


def data_names(parts: Sequence[DataPlan]) -> dict[str, str]:
    """{variant: its name}: the data set's own, with options where the study has several variants of it.

    A file outside is named without its folder, unless another has the same name; so too a folder of tables.
    """
    variants, named = {problem(part): part for part in parts}, _plain_and_full(parts)
    origins = [_origin(part) for part in variants.values()]
    return {v: named[v][origins.count(_origin(part)) > 1] for v, part in variants.items()}


def stated_names(parts: Sequence[DataPlan]) -> dict[str, str]:
    """{what a row that is not run may call its data: the name of that data set in tables}, of all that the study has.

    A variant's name with its options is the variant, whether or not the study has others; without them it is the data
    set itself, and of several variants none in particular.
    """
    tables, found = data_names(parts), {}
    for variant, (plain, full) in _plain_and_full(parts).items():
        found |= {full: tables[variant]}
        found.setdefault(plain, plain)
    return found


def _plain_and_full(parts: Sequence[DataPlan]) -> dict[str, tuple[str, str]]:
    """{variant: the data set's own name, and that with the options that are given}."""
    variants = {problem(part): part for part in parts}
    every, named = {_origin(part) for part in variants.values()}, {}
    for own, part in variants.items():
        place, where = _origin(part), _where(part)
        short_of = pathlib.PurePath(place).name if where else short(place)
        name = short_of if sum(pathlib.PurePath(p).stem == pathlib.PurePath(place).stem for p in every) == 1 else place
        told = [f"{k}={short(v)}" for k, v in sorted(part.options.items()) if k not in where]
        told += _lacks(part.missing)
        named[own] = name, f"{name} ({', '.join(told)})" if told else name
    return named


def _lacks(missing: Named) -> list[str]:
    """What is taken away: the mechanism with its rate, and what else is not as usual."""
    if not missing.name:
        return []
    usual = zoo.options("missing", missing.name) if missing.name in zoo.names("missing") else {}
    more = [f"{k}={short(v)}" for k, v in sorted(missing.options.items()) if k != "rate" and v != usual.get(k)]
    return [" ".join([f"missing {short(missing.name)} {missing.options['rate']:g}", *more])]


def _where(part: DataPlan) -> list[str]:
    """The options that say where a data set of the package lies, and are given."""
    return [] if zoo.is_path(part.name) else [option for option in places(part.name) if part.options.get(option)]


def _origin(part: DataPlan) -> str:
    """What names a data set: the folder of the user's own, else its file."""
    return next((str(part.options[option]) for option in _where(part)), part.name)
