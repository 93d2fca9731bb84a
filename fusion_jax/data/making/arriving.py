"""A folder of tables of nodes that are new: named as those that a data set was made from (`making.folder`).

    <modality>.*             ids and the columns that the modality had in training
    edges.*, edges_<name>.*  ids of joined nodes, new ones and old ones; weight and time where the edge set has them

Labels and splits are not read, and `data.toml` is not: every file goes by its name.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

import pandas as pd

from fusion_jax import folders
from fusion_jax.data.making import columns, ids
from fusion_jax.data.making.edges import ends_of
from fusion_jax.data.making.reading import EXTENSIONS, read

ARRAYS = ("weight", "time")


def from_folder(folder: str | os.PathLike, id: str | None = None) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """{modality: table with the ids as its index}, and {edge set: table of sender, receiver and edge arrays}.

    Args:
        id: the column of ids; found as for a data set if None.
    Raises:
        FileNotFoundError: no such folder.
        ValueError: a table that cannot be read, two files of one name, or no table of a modality.
    """
    path = pathlib.Path(folders.expand(folder))
    if not path.is_dir():
        raise FileNotFoundError(f"{os.fspath(path)}: no such folder; expected one with tables of new nodes")
    x, edges = {}, {}
    for file in sorted(path.iterdir()):
        stem = file.stem
        if file.suffix.lower() not in EXTENSIONS or stem in ("labels", "split") or file.name.startswith("."):
            continue
        if stem in x or (stem.startswith("edges") and stem.removeprefix("edges_") in edges):
            raise ValueError(f"{os.fspath(path)}: two files named {stem!r}; expected one")
        if stem == "edges" or stem.startswith("edges_"):
            edges[stem.removeprefix("edges_")] = _edges(file)
        else:
            table = read(file, stem, id=id)
            x[stem] = table.frame.set_axis(pd.Index(table.ids), axis=0)
    if not x:
        raise ValueError(f"{os.fspath(path)}: no table of a modality; expected one, such as genes.csv")
    return x, edges


def _edges(file: pathlib.Path) -> pd.DataFrame:
    table = read(file, file.stem, text=True, by="none")
    a, b = ends_of(table)
    made = {"sender": ids.texts(table.frame[a]), "receiver": ids.texts(table.frame[b])}
    for name in table.frame.columns:
        if name not in (a, b) and name.lower() in ARRAYS:
            values = columns.to_numbers(table.frame[name])
            if values is None:
                row = columns.first_text(table.frame[name])
                raise ValueError(f"{table.where}, column {name!r}, {table.place(row)}: no number; expected one")
            made[name.lower()] = values
    return pd.DataFrame(made)
