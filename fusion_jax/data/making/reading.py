"""One table of a user, from a file or from memory: its ids as texts and its cells, unconverted.

CSV and TSV are read by pandas (separator and decimal commas are found in the first lines), Parquet by pyarrow, npz by
NumPy without pickles. What is wrong with a file names the file, the line, and what was expected.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from fusion_jax import folders
from fusion_jax.data.making import ids

TEXT, EXTENSIONS = (".csv", ".tsv"), (".csv", ".tsv", ".parquet", ".npz")
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-nan", "-NaN", "<NA>", "NULL", "null", "None")
LOOK = 50  # lines looked at to find how a file is written
KEYS = {"x": ("x", "features"), "ids": ("ids", "id", "index"), "columns": ("columns",)}  # arrays of an npz


@dataclasses.dataclass(frozen=True)
class Table:
    """A table whose rows are nodes, or edges.

    Attributes:
        where: its file's name, or what it was given as.
        frame: the cells without the ids; a sparse matrix where it was one.
        ids: a text a row; None where the table has none (or none is wanted).
        id_column: the column they were taken from, in words.
        lines: whether rows are lines of a text file, the first of which names the columns.
        notes: what was found out of how the file is written.
    """

    where: str
    frame: pd.DataFrame | sp.csr_matrix
    ids: list[str] | None = None
    id_column: str = ""
    lines: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.frame.shape[0]

    def place(self, row: int) -> str:
        """A row in words, for errors."""
        at = f"line {row + 2}" if self.lines else f"row {row}"
        return at if self.ids is None or not self.ids[row] else f"{at} (id {self.ids[row]!r})"


def read(given: Any, where: str, *, text: bool = False, id: str | None = None, by: str = "id") -> Table:
    """A table from a path, a DataFrame or Series, or (with by="position") an array; one that is read already as it is.

    Args:
        where: what to call it where it is no file.
        text: cells stay as they are written; else columns of numbers are read as such.
        id: the column of ids; None for the one called id, node or index, else the table's own index, else the first.
        by: "id"; "position", where rows have no ids and are taken in their order; "none", where there are to be none
            (a list of edges).
    Raises:
        FileNotFoundError: no such file. ValueError: it cannot be read as a table with ids; says why.
    """
    if isinstance(given, Table):
        return given
    if isinstance(given, str | os.PathLike):
        path = pathlib.Path(folders.expand(given))
        where = path.name
        if not path.is_file():
            raise FileNotFoundError(f"{os.fspath(path)}: no such file")
        frame, notes = _from_file(path, text, id)
    else:
        frame, notes = _from_memory(given, where), ()
    lines = isinstance(given, str | os.PathLike) and path.suffix.lower() in TEXT
    if frame.shape[0] == 0:
        raise ValueError(f"{where}: no rows{' below the line of names' if lines else ''}; expected a row a node")
    table = Table(where, frame, lines=lines, notes=tuple(notes))
    return table if by == "none" else _with_ids(table, id, by)


def _from_file(path: pathlib.Path, text: bool, id: str | None) -> tuple[Any, list[str]]:
    kind = path.suffix.lower()
    if kind in TEXT:
        return _from_text(path, text, id)
    if kind == ".parquet":
        try:
            return pd.read_parquet(path), []
        except (ValueError, OSError) as error:
            raise ValueError(f"{path.name}: it cannot be read as Parquet ({_first_line(error)})") from error
    if kind == ".npz":
        return _from_npz(path), []
    raise ValueError(f"{path.name}: unknown kind of file {kind!r}; expected {', '.join(EXTENSIONS)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]


def _from_text(path: pathlib.Path, text: bool, id: str | None) -> tuple[pd.DataFrame, list[str]]:
    """The cells of a CSV or TSV file: texts, or with columns of numbers read as such."""
    separator, names, first, notes = _look_at(path)
    _check_no_nul(path)
    if len(first) == len(names) + 1:  # as R writes row names
        names = ["id", *names]
    elif len(first) > len(names) or (first and len(first) < len(names)):
        raise ValueError(
            f"{path.name}, line 2: {len(first)} fields; expected {len(names)}, as many as line 1 names columns"
        )
    decimal = "," if separator != "," and _decimal_commas(path, separator) else "."
    if decimal == "," and not text:
        notes.append("decimal commas")
    names = _each_once(names)
    key = id if id in names else _id_column(names)
    try:
        frame = pd.read_csv(
            path,
            sep=separator,
            names=names,
            header=0,
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
            f"{path.name}: {_first_line(error).removeprefix('Error tokenizing data. C error: ')}"
        ) from error
    last = frame[names[-1]] if len(frame) else frame.index
    if len(frame) and (last.isna() | (last == "")).any():
        _check_widths(path, separator, len(names))
    if names[-1].startswith("Unnamed") and (last.isna() | (last == "")).all():
        frame = frame[names[:-1]]  # every line ends in a separator
    return frame, notes


def _check_no_nul(path: pathlib.Path) -> None:
    """Raises ValueError where a file holds a NUL byte: pandas would end the cell there and say nothing."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if b"\0" in line:
                raise ValueError(f"{path.name}, line {number}: byte 0x00 is no text; expected a text file, in UTF-8")


def _look_at(path: pathlib.Path) -> tuple[str, list[str], list[str], list[str]]:
    """The separator of a file, the names in its first line, the fields of its second, and what is unusual."""
    rows = _first_rows(path, ",", 1)
    if not rows:
        raise ValueError(f"{path.name}: the file is empty; expected a line of names and a row a node")
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    widths = {mark: len(_first_rows(path, mark, 1)[0]) for mark in (usual, *{",", ";", "\t"} - {usual})}
    found = usual if widths[usual] > 1 else max(widths, key=widths.get)
    rows = _first_rows(path, found, 2)
    words = {",": "commas", ";": "semicolons", "\t": "tabs"}
    notes = [] if found == usual else [f"separated by {words[found]}"]
    return found, [name.strip() for name in rows[0]], rows[1] if len(rows) > 1 else [], notes


def _first_rows(path: pathlib.Path, separator: str, count: int) -> list[list[str]]:
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


def _decimal_commas(path: pathlib.Path, separator: str) -> bool:
    """Whether numbers are written 1,5: some of the first cells are, and none is 1.5."""
    cells = [cell.strip() for row in _first_rows(path, separator, LOOK)[1:] for cell in row]
    return any(re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", cell) for cell in cells) and not any(
        re.fullmatch(r"[+-]?\d*\.\d+([eE][+-]?\d+)?", cell) for cell in cells
    )


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


def _from_npz(path: pathlib.Path) -> pd.DataFrame | sp.csr_matrix:
    """The table of an npz: `x` [N, d], `ids` [N], `columns` [d]; or a matrix that SciPy saved."""
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("File is not a zip file")
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
    # damaged, encrypted, packed in another way, or larger than the memory
    except (ValueError, OSError, EOFError, RuntimeError, MemoryError, zlib.error, zipfile.BadZipFile) as error:
        what = "it holds Python objects, which are not loaded: save ids as an array of strings"
        said = what if "pickle" in str(error) else f"it cannot be read as npz ({_first_line(error)})"
        raise ValueError(f"{path.name}: {said}") from error
    if {"format", "data", "shape"} <= held.keys():
        try:
            return sp.csr_matrix(sp.load_npz(path))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path.name}: it cannot be read as a sparse matrix ({_first_line(error)})") from error
    tables = [name for name, array in held.items() if array.ndim == 2]
    key = next((name for name in KEYS["x"] if name in held), tables[0] if len(tables) == 1 else None)
    if key is None or held[key].ndim != 2:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in held.items()) or "none"
        raise ValueError(f"{path.name}: arrays {shapes}; expected x [N, d], and ids [N]")
    x = held[key]
    named = next((held[name] for name in KEYS["columns"] if name in held), np.arange(x.shape[1]))
    called = next((held[name] for name in KEYS["ids"] if name in held), None)
    for what, array, size in (("columns", named, x.shape[1]), ("ids", called, len(x))):
        if array is not None and array.shape != (size,):
            raise ValueError(f"{path.name}: {what} {array.shape} beside {key} {x.shape}; expected ({size},)")
    frame = pd.DataFrame(x, columns=[str(name) for name in named])
    return frame if called is None else frame.set_index(pd.Index(ids.texts(called), name="ids"))


def _from_memory(given: Any, where: str) -> pd.DataFrame | sp.csr_matrix:
    if isinstance(given, pd.Series):
        return given.to_frame(given.name if given.name is not None else "value")
    if isinstance(given, pd.DataFrame):
        return given.set_axis([str(name) for name in given.columns], axis=1)
    if sp.issparse(given):
        return sp.csr_matrix(given)
    array = np.asarray(given)
    if array.dtype == object or array.ndim not in (1, 2):
        raise ValueError(
            f"{where}: {type(given).__name__} {array.shape}; expected a path, a DataFrame or an array [N, d]"
        )
    return pd.DataFrame(array[:, None] if array.ndim == 1 else array).rename(columns=str)


def _id_column(names: list[str]) -> str:
    """The column called id, node or index, else the first."""
    called = {name.lower(): name for name in reversed(names)}
    return next((called[name] for name in ids.NAMES if name in called), names[0])


def _with_ids(table: Table, id: str | None, by: str) -> Table:
    """The table with its ids set apart, checked."""
    frame = table.frame
    if by == "position":
        called = ids.NAMES if id is None else (id,)
        own = [] if sp.issparse(frame) else [c for c in frame.columns if c == id or c.lower() in called]
        notes = [f"column {name!r} is not read: rows are taken by position" for name in own]
        frame = frame.drop(columns=own) if own else frame
        return dataclasses.replace(table, frame=frame, notes=(*table.notes, *notes))
    if sp.issparse(frame):
        raise ValueError(f"{table.where}: a sparse matrix has no ids; expected by='position', or a table with ids")
    if id is not None and id not in (*frame.columns, frame.index.name):
        raise ValueError(f"{table.where}: no column {id!r}; it has: {', '.join(frame.columns[:8])}")
    called = next((name for name in frame.columns if name.lower() in ids.NAMES), None)
    if id in frame.columns or called:
        column = id if id in frame.columns else called
    elif id is not None or not isinstance(frame.index, pd.RangeIndex):
        column = None  # a table's own index
    else:
        column = frame.columns[0]
        _check_are_ids(table, column)
    values = frame.index if column is None else frame[column]
    found = ids.texts(values.tolist() if column is None else values)
    rest = frame.reset_index(drop=True) if column is None else frame.drop(columns=column).reset_index(drop=True)
    what = "index" if column is None else f"column {column!r}"
    made = dataclasses.replace(table, frame=rest, id_column=what)
    ids.check(found, f"{table.where}, {what}", made.place)
    return dataclasses.replace(made, ids=found)


def _check_are_ids(table: Table, column: str) -> None:
    """Raises ValueError where the column taken for the ids holds measured numbers."""
    values = table.frame[column]
    texts = [v for v in ids.texts(values) if v]
    fractions = [i for i, v in enumerate(texts) if re.fullmatch(r"[+-]?\d*[.,]\d*[1-9]\d*([eE][+-]?\d+)?", v)]
    default = not table.lines and values.dtype.kind in "iufb"
    if default or len(fractions) > len(texts) / 2:
        shown = f"holds {texts[fractions[0]]}" if fractions else f"holds numbers ({values.dtype})"
        raise ValueError(
            f"{table.where}: no column of ids: the first, {column!r}, {shown}; expected ids in the first column or in "
            "one called id, node or index (id= names another; by='position' takes rows in their order)"
        )


def named(table: Table, columns: Callable[[str], bool]) -> list[str]:
    """The columns of a table whose name, in lower case, is one of those asked for."""
    return [name for name in table.frame.columns if columns(name.lower())]
