"""A folder of tables as a data set: what its files are, from their names or from a file `data.toml` beside them.

By name (csv, tsv, parquet and npz alike):

    labels.*                 ids and labels
    edges.*, edges_<name>.*  ids of joined nodes: the edge sets "edges", "<name>"
    split.*                  ids and train, val, test
    any other                a modality, called like the file, in the order of their names

With `data.toml` all of that can be said, and any keyword of `Dataset.from_tables`; what it does not say goes by name:

    name = "cohort"
    features = {genes = "rna_2024.csv", clinical = "sheet.tsv"}   # in this order, and no others
    labels = "outcome.csv"
    target = "diagnosis"
    edges = {ppi = "network.tsv"}
    k = 15
    header = false   # where no file has a line of names
"""

from __future__ import annotations

import inspect
import os
import pathlib
import tomllib
from collections.abc import Mapping
from typing import Any

from fusion_jax import folders
from fusion_jax.data.base import Dataset
from fusion_jax.data.making.reading import EXTENSIONS
from fusion_jax.data.making.report import some
from fusion_jax.data.making.tables import from_tables
from fusion_jax.zoo import nearest

TOML = "data.toml"
SHEETS, PACKED = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods"), (".gz", ".zip", ".bz2", ".xz", ".zst")
FILES = ("features", "labels", "edges", "split")
OPTIONS = {p.name: p for p in inspect.signature(from_tables).parameters.values()}


def from_folder(folder: str | os.PathLike, **options: Any) -> Dataset:
    """The data set of a folder; options that are given go before those of its `data.toml`.

    Raises:
        FileNotFoundError: no such folder. ValueError: no features or labels in it, two files of one name, an unknown
            key of `data.toml`, or whatever `from_tables` says.
    """
    path = pathlib.Path(folders.expand(folder))
    if not path.is_dir():
        what = "is no folder" if path.exists() else "no such folder"
        raise FileNotFoundError(
            f"{os.fspath(path)}: {what}; expected one with tables (features, labels.csv, edges.csv)"
        )
    said = _said(path)
    found, others, doubtful = _by_name(path)
    wanted = {**said, **options}
    named = {}
    for key in FILES:
        value = wanted.pop(key, None)
        if key == "split" and isinstance(value, str) and not (path / value).is_file():
            named[key] = value  # a column of the labels
        else:
            named[key] = found.get(key) if value is None else _paths(path, value, f"{TOML}, {key}")
    for key, expected in (("features", "one file a modality, such as genes.csv"), ("labels", "a file labels.csv")):
        if not named[key]:
            there = some(sorted(p.name for p in path.iterdir()), 6) or "nothing"
            more = "".join(f"; {warning}" for warning in doubtful)
            raise ValueError(f"{os.fspath(path)}: no {key}; expected {expected} (there: {there}){more}")
    data = from_tables(**named, **{"name": called(path, said), **wanted})
    if others:
        data.conversion.say(f"not read: {some(others)} (read are {', '.join(EXTENSIONS)})")
    for warning in doubtful:
        data.conversion.warn(warning)
    return data


def called(folder: str | os.PathLike, said: Mapping[str, Any] | None = None) -> str:
    """The name of a folder's data set: that of its `data.toml`, else the folder's own.

    Args:
        said: what `data.toml` says; read if None.
    """
    path = pathlib.Path(folders.expand(folder))
    said = _said(path) if said is None else said
    return str(said.get("name", path.resolve().name))


def _said(path: pathlib.Path) -> dict[str, Any]:
    """What `data.toml` says; {} where there is none. Raises ValueError where something else is in its place."""
    file = path / TOML
    if not file.is_file():
        if os.path.lexists(file):  # a folder, a pipe, or a link that leads nowhere: what it was to say would be missed
            raise ValueError(f"{os.fspath(file)} is no plain file; expected one, or none")
        return {}
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        why = "nested too deep" if isinstance(error, RecursionError) else error
        raise ValueError(f'{TOML}: {why}; expected TOML, such as target = "diagnosis"') from error
    for key in said:
        if key not in OPTIONS:
            raise ValueError(f"{TOML}: unknown key {key!r}{nearest(key, OPTIONS)}; its keys: {', '.join(OPTIONS)}")
    return said


def _by_name(path: pathlib.Path) -> tuple[dict[str, Any], list[str], list[str]]:
    """{"features": {modality: path}, "labels": ..., "edges": ..., "split": ...}, the names of files not read, and
    warnings of those that may be meant as tables."""
    found: dict[str, Any] = {"features": {}, "edges": {}}
    others, stems = [], {}
    folder = [file for file in sorted(path.iterdir()) if not file.name.startswith((".", "~$")) and file.name != TOML]
    for file in folder:
        if file.is_dir():
            continue
        if file.suffix.lower() not in EXTENSIONS:
            others.append(file.name)
            continue
        if file.stem in stems:
            raise ValueError(f"{os.fspath(path)}: {stems[file.stem]} and {file.name}; expected one file of that name")
        stems[file.stem] = file.name
        if file.stem in ("labels", "split"):
            found[file.stem] = file
        elif file.stem == "edges" or file.stem.startswith("edges_"):
            found["edges"][file.stem.removeprefix("edges_")] = file
        else:
            found["features"][file.stem] = file
    return found, others, [why for file in folder if (why := _not_read(file)) and file.stem not in stems]


def _not_read(file: pathlib.Path) -> str:
    """What to do with what looks like a table and is none that is read; "" of anything else."""
    kind = file.suffix.lower()
    if file.is_dir():
        return f"{file.name} is a folder, and not read: expected a file" if kind in EXTENSIONS else ""
    if kind in SHEETS:
        return f"{file.name} is not read: save its sheet as CSV"
    packed = kind in PACKED and pathlib.Path(file.stem).suffix.lower() in EXTENSIONS
    return f"{file.name} is not read: unpack it" if packed else ""


def _paths(path: pathlib.Path, value: Any, where: str) -> Any:
    """File names as paths in the folder."""
    if isinstance(value, dict):
        return {name: _paths(path, one, f"{where}.{name}") for name, one in value.items()}
    if not isinstance(value, str):
        raise ValueError(f"{where}: {value!r}; expected a file's name, or {{name = file, ...}}")
    return path / folders.expand(value)
