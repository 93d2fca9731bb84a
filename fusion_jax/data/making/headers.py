"""Whether the first line of a text file names its columns, or is a row like those below it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fusion_jax.data.making import ids

NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
ORDERED = 3  # increasing numbers that name columns: years, wavelengths
KINDS = 3  # of ids, up to which an id of another kind is none


def is_number(cell: str) -> bool:
    """Whether a cell is a number, with a point or a comma."""
    return NUMBER.fullmatch(cell.strip()) is not None


def looks_like_a_row(first: Sequence[str], rows: Sequence[Sequence[str]], key: int | None) -> str:
    """Why the first line is taken for a row, in words; "" where it may well name the columns.

    It is one if its id is written as those below are (letters and digits in the same places, a digit among them) and
    no column of numbers has a name that is none; or if all its fields are numbers, or values of their column, that
    neither count the columns nor grow from one to the next.

    Args:
        first: its fields.
        rows: the fields of some lines below it, as many in each.
        key: the column of ids; None where rows have none.
    """
    called = "id" if key is None else first[key].strip()
    if key is not None and (not called or called.lower() in ids.NAMES):
        return ""
    columns = [c for c in range(len(first)) if c != key and (first[c].strip() or any(row[c].strip() for row in rows))]
    cells = {c: [cell for row in rows if (cell := row[c].strip())] for c in columns}
    measured = [c for c in columns if cells[c] and all(map(is_number, cells[c]))]
    if any(first[c].strip() and not is_number(first[c]) for c in measured):
        return ""
    numbers = [float(first[c].strip().replace(",", ".")) for c in measured if first[c].strip()]
    repeated = [c for c in columns if c not in measured and first[c].strip() in cells[c]]
    if key is not None:
        kinds = {_kind(row[key]) for row in rows}
        if _kind(called) not in kinds and len(kinds) <= KINDS:
            return ""
        if _kind(called) in kinds and "9" in _kind(called) and (numbers or repeated):
            return f"{called[:40]!r} is written as the ids below it"
    if numbers and len(measured) + len(repeated) == len(columns) and not _name_columns(numbers):
        return "its fields are numbers, as those below it"
    return ""


def _kind(text: str) -> str:
    """How a text is written: "a9" of "p081", "a-9" of "TCGA-07"."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", text.strip()))


def _name_columns(numbers: list[float]) -> bool:
    """Whether numbers are names that a program gives (0, 1, 2, ...), or increase or decrease as years do."""
    if numbers in ([float(i) for i in range(len(numbers))], [float(i + 1) for i in range(len(numbers))]):
        return True
    steps = [b - a for a, b in zip(numbers, numbers[1:], strict=False)]
    return len(numbers) >= ORDERED and (all(s > 0 for s in steps) or all(s < 0 for s in steps))


def names_of(rows: Sequence[Sequence[str]], by: str) -> list[str]:
    """Names for the columns of a file without any: id first, but by position; of edges source, target and weight.

    The third column of edges is their weight where it holds numbers, the fourth then their time.

    Args:
        rows: the fields of some lines.
        by: as `reading.read` has it.
    """
    width = len(rows[0])
    names = [f"column {i + 1}" for i in range(width)]
    if by == "id":
        names[0] = "id"
    elif by == "none":
        held = ["source", "target", "weight", "time"][:width]
        for place in (2, 3):
            if not all(len(row) > place and is_number(row[place]) for row in rows):
                held = held[:place]
        names[: len(held)] = held
    return names
