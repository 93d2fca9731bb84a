"""What the options of `from_tables` may be: a value of another kind is named before any table is read."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from fusion_jax.data.base import METRICS
from fusion_jax.data.making.targets import TASKS
from fusion_jax.zoo import nearest

WORDS: dict[str, Collection[str]] = dict(
    by=("id", "position"),
    join=("union", "intersection"),
    impute=("mean", "median", "none"),
    metric=METRICS,
    setting=("transductive", "inductive"),
    task=("", *TASKS),
)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1


def _is_share(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and 0 < value < 1


def _are_texts(value: Any) -> bool:
    return _is_text(value) or (
        isinstance(value, Collection) and not isinstance(value, Mapping) and all(map(_is_text, value))
    )


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


KINDS: dict[str, tuple[Callable[[Any], bool], str]] = dict(
    name=(_is_text, "a text"),
    id=(lambda v: v is None or _is_text(v), "the name of a column"),
    target=(_are_texts, "the name of a column, or a list of names"),
    onehot=(lambda v: _is_flag(v) or _are_texts(v), "true, false, the name of a column, or a list of names"),
    graph=(_is_text, "the name of an edge set"),
    directed=(_is_flag, "true or false, without quotes"),
    mutual=(_is_flag, "true or false, without quotes"),
    header=(lambda v: v is None or _is_flag(v), "true or false, without quotes, or nothing"),
    k=(lambda v: v is None or _is_whole(v), "a whole number, at least 1"),
    per_class=(lambda v: v is None or _is_whole(v), "a whole number, at least 1"),
    train=(_is_share, "a share in (0, 1)"),
    val=(_is_share, "a share in (0, 1)"),
    source=(_is_text, "a text"),
    licence=(_is_text, "a text"),
)


def check(given: Mapping[str, Any]) -> None:
    """Raises ValueError for the first option that has another kind of value; names it, the value, what was expected."""
    for option, value in given.items():
        if option in WORDS:
            known: Sequence[str] = list(WORDS[option])
            if value not in known:
                near = nearest(value, known) if _is_text(value) else ""
                raise ValueError(f"{option}={value!r}{near}; expected {' or '.join(map(repr, known))}")
        else:
            fits, expected = KINDS[option]
            if not fits(value):
                raise ValueError(f"{option}={value!r}; expected {expected}")
