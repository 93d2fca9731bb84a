"""Data as a caller names them: a record in memory, a data set by its name, a folder of tables."""

from __future__ import annotations

import dataclasses
import difflib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from fusion_jax import data, zoo
from fusion_jax.data import Dataset

Named = tuple[str, Mapping[str, Any]]  # a data set's name and options


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A data set and what a config calls it.

    Attributes:
        name, options: `data.name` and `data.options`.
        data: the record.
        given: whether it is the caller's own, which no file makes again.
    """

    name: str
    options: dict[str, Any]
    data: Dataset
    given: bool = False

    @property
    def config(self) -> dict[str, Any]:
        return {"data.name": self.name, "data.options": dict(self.options)}


def load_data(name: str | os.PathLike, **options: Any) -> Dataset:
    """The data set of that name (`fusion-jax data` lists them), of a file `mine.py` that defines `load`, or of a folder
    of tables.

    Raises:
        ValueError: unknown name or option, naming the nearest; contents that are not valid.
        FileNotFoundError: its files are not there; says how to get them.
    """
    return _named(name, options).data


def loaded(source: Dataset | str | os.PathLike | Named) -> Loaded:
    """What a caller means by its data.

    Raises:
        ValueError, FileNotFoundError: as `load_data`; TypeError: something else, such as a table.
    """
    if isinstance(source, Dataset):
        return Loaded(f"{zoo.MEMORY}{source.name}", {}, source, given=True)
    if isinstance(source, str | os.PathLike):
        return _named(source, {})
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[1], Mapping):
        return _named(source[0], source[1])
    raise TypeError(
        f"data is a {type(source).__name__}, expected a Dataset (Dataset.from_tables, .from_arrays, ...), a data set's "
        f"name, (name, options), or a folder of tables"
    )


def _named(name: str | os.PathLike, options: Mapping[str, Any]) -> Loaded:
    text = os.fspath(name)
    if pathlib.Path(text).expanduser().is_dir() and text not in data.names():
        options, text = dict(options, folder=text), "tables"
    elif os.sep in text and not zoo.is_path(text):
        place = pathlib.Path(text).expanduser()
        beside = [p.name for p in place.parent.iterdir() if p.is_dir()] if place.parent.is_dir() else []
        near = difflib.get_close_matches(place.name, beside, 1)
        raise FileNotFoundError(f"no folder {text!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    return Loaded(text, dict(options), data.load(text, **options))
