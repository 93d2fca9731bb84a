"""CSV and TSV files as pandas reads them, once separator, decimal commas and the line of names are found."""

from __future__ import annotations

import csv
import pathlib
import re
from typing import Any

import pandas as pd

from fusion_jax.data.making import headers, ids

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-nan", "-NaN", "<NA>", "NULL", "null", "None")
LOOK = 50  # lines looked at to find how a file is written
COMMA, POINT = (re.compile(rf"[+-]?\d*{mark}\d+([eE][+-]?\d+)?") for mark in (",", r"\."))  # 1,5 and 1.5
WHOLE = re.compile(r"[+-]?\d+([eE][+-]?\d+)?")


def from_text(
    path: pathlib.Path, text: bool, id: str | None, by: str, header: bool | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The cells of a CSV or TSV file: texts, or with columns of numbers read as such; and how the file is written.

    Args:
        text, id, by, header: see `reading.read`.
    Returns:
        The cells, and what `reading.Table` says of a text file: its first line, the separator, notes.
    Raises:
        ValueError: it is no text, or its lines have not as many fields as there are columns; says which.
    """
    separator, names, first, notes = _look_at(path)
    _check_no_nul(path)
    named = header is not False
    line = tuple(names) if named else ()
    if not named:
        names = headers.names_of(first_rows(path, separator, LOOK), by)
        notes.append("no line of names (header=False)")
    elif len(first) == len(names) + 1:  # as R writes row names
        names, line = ["id", *names], ("id", *names)
    elif len(first) > len(names) or (first and len(first) < len(names)):
        raise ValueError(
            f"{path.name}, line 2: {len(first)} fields; expected {len(names)}, as many as line 1 names columns"
        )
    decimal = "," if separator != "," and _decimal_commas(path, separator, named) else "."
    if decimal == "," and not text:
        notes.append("decimal commas")
    names = _each_once(names)
    key = id if id in names else ids.column_of(names)
    try:
        frame = pd.read_csv(
            path,
            sep=separator,
            names=names,
            header=0 if named else None,
            dtype=str if text else {key: str},
            keep_default_na=False,
            na_values=None if text else {name: list(MISSING) for name in names if name != key},
            encoding="utf-8-sig",
            decimal=decimal,
            float_precision=None if decimal == "," else "round_trip",  # the parser of decimal commas has no other
            low_memory=False,
        )
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as error:
        raise ValueError(
            f"{path.name}: {first_line(error).removeprefix('Error tokenizing data. C error: ')}"
        ) from error
    last = frame[names[-1]] if len(frame) else frame.index
    if len(frame) and (last.isna() | (last == "")).any():
        _check_widths(path, separator, len(names))
    if names[-1].startswith("Unnamed") and (last.isna() | (last == "")).all():
        frame = frame[names[:-1]]  # every line ends in a separator
    return frame, dict(lines=True, first=line, separator=separator, notes=tuple(notes))


def first_line(error: Exception) -> str:
    """What an error of a reader says, in one line."""
    return str(error).strip().split("\n")[0][:200]


def _check_no_nul(path: pathlib.Path) -> None:
    """Raises ValueError where a file holds a NUL byte: pandas would end the cell there and say nothing."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if b"\0" in line:
                raise ValueError(f"{path.name}, line {number}: byte 0x00 is no text; expected a text file, in UTF-8")


def _look_at(path: pathlib.Path) -> tuple[str, list[str], list[str], list[str]]:
    """The separator of a file, the names in its first line, the fields of its second, and what is unusual."""
    rows = first_rows(path, ",", 1)
    if not rows:
        raise ValueError(f"{path.name}: the file is empty; expected a line of names and a row a node")
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    widths = {mark: len(first_rows(path, mark, 1)[0]) for mark in (usual, *{",", ";", "\t"} - {usual})}
    found = usual if widths[usual] > 1 else max(widths, key=widths.get)
    rows = first_rows(path, found, 2)
    words = {",": "commas", ";": "semicolons", "\t": "tabs"}
    notes = [] if found == usual else [f"separated by {words[found]}"]
    return found, [name.strip() for name in rows[0]], rows[1] if len(rows) > 1 else [], notes


def first_rows(path: pathlib.Path, separator: str, count: int) -> list[list[str]]:
    """The fields of the first lines of a file that are not empty."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            found = []
            for row in csv.reader(file, delimiter=separator):
                if any(cell.strip() for cell in row):
                    found.append(row)
                if len(found) == count:
                    break
            return found
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    except csv.Error as error:
        raise ValueError(f"{path.name}: {error}; expected text with a row a line") from error


def _not_text(path: pathlib.Path, error: UnicodeDecodeError) -> ValueError:
    byte = f"{error.object[error.start]:#04x}"
    return ValueError(f"{path.name}: byte {byte} is no text in UTF-8; expected a text file saved as UTF-8")


def _decimal_commas(path: pathlib.Path, separator: str, named: bool) -> bool:
    """Whether numbers are written 1,5: some of the first cells are, and none is 1.5."""
    cells = [cell.strip() for row in first_rows(path, separator, LOOK)[named:] for cell in row]
    return any(map(COMMA.fullmatch, cells)) and not any(map(POINT.fullmatch, cells))


def _each_once(names: list[str]) -> list[str]:
    """Column names, "Unnamed n" for those without one; a name that comes again is numbered."""
    found: dict[str, None] = {}  # in order; a list would make a file of many columns take hours
    again: dict[str, int] = {}
    for i, name in enumerate(names):
        name = name or ("id" if i == 0 and "id" not in names else f"Unnamed {i}")
        own = name
        while own in found:
            again[name] = again.get(name, 0) + 1
            own = f"{name}.{again[name]}"
        found[own] = None
    return list(found)


def _check_widths(path: pathlib.Path, separator: str, width: int) -> None:
    """Raises ValueError where a line has fewer fields than the first, as a file that was cut off has."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator)
        rows = (row for row in reader if any(cell.strip() for cell in row))
        next(rows)  # the names, one fewer where R wrote them
        for row in rows:
            if len(row) < width:
                found = f"{len(row)} field{'s' if len(row) > 1 else ''}"
                raise ValueError(f"{path.name}, line {reader.line_num}: {found}; expected {width}, as in line 1")
