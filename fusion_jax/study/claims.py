"""What a study claims beforehand: `claims()` of its file, one sentence each with the rows that decide it."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping
from typing import Any

from fusion_jax import metrics
from fusion_jax.zoo import nearest

Selector = str | Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Claim:
    """One sentence that a study is to decide.

    Attributes:
        claim: the sentence.
        better, than: the rows it is about: a label, "label, placement", or {config key: value, ...} of one cell.
        metric: by which; "" for the primary one.
        data: name of the data set; "" for every one that has both rows, and then the claim is about all of them.
        by: at least how much better, in the metric's own units.
        equivalent: instead of better, the rows are the same but for less than this margin, in the metric's own units; 0
            for a claim of better.
    """

    claim: str
    better: Selector
    than: Selector
    metric: str = ""
    data: str = ""
    by: float = 0.0
    equivalent: float = 0.0


FIELDS = {field.name: field for field in dataclasses.fields(Claim)}


def claims_of(module: Any, file: str = "", arg: str = "") -> list[Claim]:
    """The claims of a study file, `claims()` or `claims(arg)`: a list of `Claim` or of dicts with its fields.

    Raises:
        ValueError: something else; names the file, the claim, the field, its value and what was expected.
    """
    if (make := getattr(module, "claims", None)) is None:
        return []
    at = f"{file}: " if file else ""
    if not callable(make):
        raise ValueError(f"{at}claims is a {type(make).__name__}; expected a function: def claims(): return [...]")
    given = make(arg) if inspect.signature(make).parameters else make()
    if not isinstance(given, list | tuple):
        raise ValueError(f"{at}claims() returned {given!r}; expected a list of claims")
    made = [claim_of(one, f"{at}claims()[{i}]") for i, one in enumerate(given)]
    twice = [one.claim for i, one in enumerate(made) if one.claim in {other.claim for other in made[:i]}]
    if twice:
        raise ValueError(f"{at}claims(): two claims say {twice[0]!r}; expected one sentence a claim")
    return made


def claim_of(given: Any, at: str) -> Claim:
    """A claim, or a dict of its fields, checked.

    Raises:
        ValueError: something else; names `at`, where it stands, the field, its value and what was expected.
    """
    if isinstance(given, Claim):
        given = dataclasses.asdict(given)
    if not isinstance(given, Mapping):
        raise ValueError(f"{at} is {given!r}; expected a dict with the fields {', '.join(FIELDS)}")
    said = given.get("claim")
    at = f"{at} {said!r}" if isinstance(said, str) else at
    for field in given:
        if field not in FIELDS:
            raise ValueError(f"{at}: no field {field!r}{nearest(field, FIELDS)}; expected some of {', '.join(FIELDS)}")
    for field in ("claim", "better", "than"):
        if field not in given:
            raise ValueError(f"{at}: no field {field!r}; a claim has claim, better and than")
    for field, value in given.items():
        _check(field, value, at)
    if given.get("by") and given.get("equivalent"):
        raise ValueError(f"{at}: by={given['by']!r} and equivalent={given['equivalent']!r}; expected one of them")
    return Claim(**{**given, **{f: float(given[f]) for f in ("by", "equivalent") if f in given}})


def is_number(value: Any) -> bool:
    """Whether a value is a number that a float can hold; JSON has longer ones."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _check(field: str, value: Any, at: str) -> None:
    """Raises ValueError where a field has a value that it cannot have."""
    number = is_number(value) and math.isfinite(value)
    expected, fine = "a sentence on one line", isinstance(value, str) and bool(value.strip()) and "\n" not in value
    if field in ("better", "than"):
        expected = "a row: its label, 'label, placement', or {config key: value}"
        fine = bool(value) and isinstance(value, str | Mapping)
    elif field in ("by", "equivalent"):
        expected, fine = "a number, 0 or more", number and value >= 0
    elif field in ("metric", "data"):
        expected, fine = "a name", isinstance(value, str)
    if not fine:
        raise ValueError(f"{at}: {field}={value!r}; expected {expected}")
    plain = value.rpartition(": ")[2] if field == "metric" else ""
    if plain and plain not in metrics.known():
        raise ValueError(f"{at}: metric={value!r}, no such metric{nearest(plain, metrics.known())}")
