"""One table of a user, from a file or from memory: its ids as texts and its cells, unconverted.

CSV and TSV are read by pandas (separator and decimal commas are found in the first lines), Parquet by pyarrow, npz by
NumPy without pickles. What is wrong with a file names the file, the line, and what was expected.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from fusion_jax import folders, unpacked
from fusion_jax.data.making import headers, ids
from fusion_jax.data.making.delimited import COMMA, LOOK, MISSING, WHOLE, first_line, first_rows, from_text
from fusion_jax.data.making.report import some

TEXT, EXTENSIONS = (".csv", ".tsv"), (".csv", ".tsv", ".parquet", ".npz")
KEYS = {"x": ("x", "features"), "ids": ("ids", "id", "index"), "columns": ("columns",)}  # arrays of an npz


@dataclasses.dataclass(frozen=True)
class Table:
    """A table whose rows are nodes, or edges.

    Attributes:
        where: its file's name, or what it was given as.
        frame: the cells without the ids; a sparse matrix where it was one.
        ids: a text a row; None where the table has none (or none is wanted).
        id_column: the column they were taken from, in words.
        lines: whether rows are lines of a text file.
        first: the fields of the line of such a file that names the columns; () where none does.
        separator: between its fields.
        notes: what was found out of how the file is written.
    """

    where: str
    frame: pd.DataFrame | sp.csr_matrix
    ids: list[str] | None = None
    id_column: str = ""
    lines: bool = False
    first: tuple[str, ...] = ()
    separator: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.frame.shape[0]

    def place(self, row: int) -> str:
        """A row in words, for errors."""
        at = f"line {row + (2 if self.first else 1)}" if self.lines else f"row {row}"
        return at if self.ids is None or not self.ids[row] else f"{at} (id {self.ids[row]!r})"


def read(
    given: Any,
    where: str,
    *,
    text: bool = False,
    id: str | None = None,
    by: str = "id",
    header: bool | None = None,
) -> Table:
    """A table from a path, a DataFrame or Series, or (with by="position") an array; one that is read already as it is.

    Args:
        where: what to call it where it is no file.
        text: cells stay as they are written; else columns of numbers are read as such.
        id: the column of ids; None for the one called id, node or index, else the table's own index, else the first.
        by: "id"; "position", where rows have no ids and are taken in their order; "none", where there are to be none
            (a list of edges).
        header: whether the first line of a text file names the columns. If None it does, and one that looks like a row
            is an error (a list of edges tells for itself, `edges.from_list`).
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
        table = _from_file(path, text, id, by, header)
    else:
        table = Table(where, _from_memory(given, where))
    if len(table) == 0:
        row = "a row an edge (leave the list out where there are none)" if by == "none" else "a row a node"
        raise ValueError(f"{where}: no rows{' below the line of names' if table.lines else ''}; expected {row}")
    if by == "none":
        return table
    table = _with_ids(table, id, by)
    if header is None and table.first:
        _check_names(path, table, id if id in table.first else None, by)
    return with_points(table, table.frame.columns) if text and table.separator else table


def _check_names(path: pathlib.Path, table: Table, id: str | None, by: str) -> None:
    """Raises ValueError where the first line of a text file looks like a row."""
    key = table.first.index(id or ids.column_of(list(table.first))) if by == "id" else None
    rows = [row for row in first_rows(path, table.separator, LOOK)[1:] if len(row) == len(table.first)]
    if why := headers.looks_like_a_row(table.first, rows, key):
        raise not_names(table, why)


def not_names(table: Table, why: str) -> ValueError:
    """The error of a file whose first line looks like a row."""
    shown = ", ".join(repr(field[:20]) for field in table.first[:3]) + (", ..." if len(table.first) > 3 else "")
    return ValueError(
        f"{table.where}, line 1: {shown}: {why}; expected names of the columns (header=False reads a row there, "
        "header=True takes them for names; in data.toml: header = false, or true)"
    )


def _from_file(path: pathlib.Path, text: bool, id: str | None, by: str, header: bool | None) -> Table:
    kind = path.suffix.lower()
    unpacked.check(path.stat().st_size, path.name, "has")
    if kind in TEXT:
        frame, how = from_text(path, text, id, by, header)
        return Table(path.name, frame, **how)
    if kind == ".parquet":
        try:
            unpacked.check_parquet(path, path.name)
            return Table(path.name, pd.read_parquet(path))
        except unpacked.TooLarge:
            raise
        except (ValueError, OSError) as error:
            raise ValueError(f"{path.name}: it cannot be read as Parquet ({first_line(error)})") from error
    if kind == ".npz":
        return Table(path.name, _from_npz(path))
    raise ValueError(f"{path.name}: unknown kind of file {kind!r}; expected {', '.join(EXTENSIONS)}")


def with_points(table: Table, columns: Iterable[str]) -> Table:
    """The table with numbers that stand in it as texts 1,5 written 1.5: in those of the columns that hold no others.

    Only of text files whose fields are not separated by commas, where a comma in a field can mean nothing else.
    """
    if table.separator in ("", ","):
        return table
    frame, found = table.frame.copy(), []
    for name in columns:
        cells = [str(cell).strip() for cell in frame[name].tolist()]
        held = [cell for cell in cells if cell not in MISSING]
        if any(map(COMMA.fullmatch, held)) and all(COMMA.fullmatch(c) or WHOLE.fullmatch(c) for c in held):
            frame[name] = [cell.replace(",", ".") for cell in cells]
            found.append(name)
    if not found:
        return table
    return dataclasses.replace(table, frame=frame, notes=(*table.notes, f"decimal commas in {some(found)}"))


def _from_npz(path: pathlib.Path) -> pd.DataFrame | sp.csr_matrix:
    """The table of an npz: `x` [N, d], `ids` [N], `columns` [d]; or a matrix that SciPy saved."""
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("File is not a zip file")
        unpacked.check_npz(path, path.name)
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
        if other := [name for name, array in held.items() if not isinstance(array, np.ndarray)]:
            raise ValueError(f"{other[0]} is no array")  # a file of a zip that NumPy hands over as bytes
    except unpacked.TooLarge:
        raise
    # damaged, encrypted, packed in another way, or larger than the memory
    except (ValueError, OSError, EOFError, RuntimeError, MemoryError, zlib.error, zipfile.BadZipFile) as error:
        what = "it holds Python objects, which are not loaded: save ids as an array of strings"
        said = what if "pickle" in str(error) else f"it cannot be read as npz ({first_line(error)})"
        raise ValueError(f"{path.name}: {said}") from error
    if {"format", "data", "shape"} <= held.keys():
        try:
            return sp.csr_matrix(sp.load_npz(path))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path.name}: it cannot be read as a sparse matrix ({first_line(error)})") from error
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
