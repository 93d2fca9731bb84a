"""What nodes are called: ids are texts, compared letter by letter; white space around them does not count."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import pandas as pd

LONGEST = 1000  # characters
NAMES = ("id", "node", "index")  # of a column of ids, where none is named


def texts(values: Any) -> list[str]:
    """Ids as texts: whole numbers as they are written, also where a table holds them as floats; "" for missing ones."""
    series = pd.Series(values)
    if series.dtype.kind == "f":
        whole = (series == series.round()) & (series.abs() < 2**53)
        return [
            str(int(v)) if w else "" if pd.isna(v) else repr(v) for v, w in zip(series.tolist(), whole, strict=True)
        ]
    return ["" if v is None or v is pd.NA or v != v else text(v).strip() for v in series.tolist()]


def text(value: Any) -> str:
    """A value as a text; bytes are read as UTF-8."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def column_of(names: list[str]) -> str:
    """The column called id, node or index, else the first."""
    called = {name.lower(): name for name in reversed(names)}
    return next((called[name] for name in NAMES if name in called), names[0])


def check(found: list[str], where: str, place) -> None:
    """Raises ValueError unless ids are there, of a usual length, and each once.

    Args:
        where: file and column.
        place: row number -> the row in words, such as "line 7".
    """
    seen: dict[str, int] = {}
    for row, text in enumerate(found):
        if not text:
            raise ValueError(f"{where}, {place(row)}: no id; expected one in every row")
        if len(text) > LONGEST:
            raise ValueError(
                f"{where}, {place(row)}: an id of {len(text):,} characters ({text[:20]!r}...); expected at most "
                f"{LONGEST}: is this the column of ids?"
            )
        if text in seen:
            raise ValueError(
                f"{where}, {place(row)}: id {text!r} stands in {place(seen[text])} too; expected each id once (is this "
                "the column of ids? id= names another)"
            )
        seen[text] = row


def in_order(names: Iterable[str]) -> list[str]:
    """Each once, sorted: as numbers where all are plain whole numbers, else as texts.

    So the order of rows in the files changes nothing.
    """
    names = set(names)
    plain = all(re.fullmatch(r"0|-?[1-9][0-9]{0,17}", name) for name in names)
    return sorted(names, key=int) if plain else sorted(names)


def as_number(text: str) -> float | None:
    """The number that an id reads as, or None: "1", "1.0" and "001" are one number, and three ids."""
    if not re.fullmatch(r"\s*[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?\s*", text) or len(text) > 40:
        return None
    return float(text)


def same_number(unknown: Iterable[str], known: Iterable[str]) -> tuple[str, str] | None:
    """An unknown id and a known one that are equal as numbers and not as texts; None where there are none."""
    numbers = {n: name for name in known if (n := as_number(name)) is not None}
    for name in unknown:
        number = as_number(name)
        if number in numbers:
            return str(name), str(numbers[number])
    return None


def look(name: str) -> str:
    """What an id looks like: equal for those that differ in Unicode form, case, spaces or invisible characters only."""
    seen = "".join(c for c in unicodedata.normalize("NFKC", name).casefold() if unicodedata.category(c) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", seen).split())


def difference(one: str, other: str) -> str:
    """In words, in what two ids differ that look alike."""
    forms = [unicodedata.normalize("NFC", name) for name in (one, other)]
    if forms[0] == forms[1]:
        return "Unicode form (NFC and NFD)"
    return "upper and lower case" if forms[0].casefold() == forms[1].casefold() else "spaces or invisible characters"


def shown(name: str) -> str:
    """An id in quotes, what is not ASCII written out: of two that look alike one sees in what they differ."""
    return ascii(name)


def hint(unknown: Iterable[str], known: Iterable[str]) -> str:
    """Of an unknown id and a known one that only look different, or only look alike; "" where there are none."""
    unknown, known = [str(name) for name in unknown], list(known)
    if found := same_number(unknown, known):
        return f"; {found[0]!r} and {found[1]!r} are equal as numbers and not as texts"
    looks = {look(name): name for name in reversed(known)}
    pairs = [(name, looks[look(name)]) for name in unknown if look(name) in looks]
    if not pairs:
        return ""
    one, other = pairs[0]
    more = f" (and {len(pairs) - 1:,} more such ids)" if len(pairs) > 1 else ""
    return f"; {shown(one)} and {shown(other)} differ in {difference(one, other)} only{more}"


def are_positions(names: Iterable[str], count: int) -> bool:
    """Whether all look like row numbers of `count` rows, counted from 0 or from 1."""
    names = list(names)
    plain = all(re.fullmatch(r"0|[1-9][0-9]{0,17}", name) for name in names)
    return bool(names) and plain and max(map(int, names)) <= count
