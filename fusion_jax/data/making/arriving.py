"""A folder of tables of nodes that are new: named as those that a data set was made from (`making.folder`).

    <modality>.*             ids and the columns that the modality had in training
    edges.*, edges_<name>.*  ids of joined nodes, new ones and old ones; weight and time where the edge set has them

Labels and splits are not read, and `data.toml` is not: every file goes by its name.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable
from typing import Any

import pandas as pd

from fusion_jax import folders
from fusion_jax.data.making import columns, ids
from fusion_jax.data.making.edges import arrays_of, ends_of, with_first_line
from fusion_jax.data.making.reading import EXTENSIONS, Table, read, with_points


def from_folder(
    folder: str | os.PathLike, id: str | None = None, *, header: bool | None = None, known: Iterable[str] = ()
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """{modality: table with the ids as its index}, and {edge set: table of sender, receiver and edge arrays}.

    Args:
        id: the column of ids; found as for a data set if None.
        header: whether the first line of a text file names the columns; found as for a data set if None.
        known: ids of the old nodes: a first line that names one, or a new one, is an edge.
    Raises:
        FileNotFoundError: no such folder.
        ValueError: a table that cannot be read, two files of one name, or no table of a modality.
    """
    path = pathlib.Path(folders.expand(folder))
    if not path.is_dir():
        raise FileNotFoundError(f"{os.fspath(path)}: no such folder; expected one with tables of new nodes")
    x, lists = {}, {}
    for file in sorted(path.iterdir()):
        stem = file.stem
        if file.suffix.lower() not in EXTENSIONS or stem in ("labels", "split") or file.name.startswith("."):
            continue
        if stem in x or (stem.startswith("edges") and stem.removeprefix("edges_") in lists):
            raise ValueError(f"{os.fspath(path)}: two files named {stem!r}; expected one")
        if stem == "edges" or stem.startswith("edges_"):
            lists[stem.removeprefix("edges_")] = read(file, stem, text=True, by="none", header=header)
        else:
            table = read(file, stem, id=id, header=header)
            x[stem] = table.frame.set_axis(pd.Index(table.ids), axis=0)
    if not x:
        raise ValueError(f"{os.fspath(path)}: no table of a modality; expected one, such as genes.csv")
    if header is None:
        nodes = {str(i) for i in known}.union(*(table.index for table in x.values()))
        lists = {name: with_first_line(table, nodes) for name, table in lists.items()}
    return x, {name: _edges(table) for name, table in lists.items()}


def _edges(table: Table) -> pd.DataFrame:
    table = with_points(table, arrays_of(table))
    a, b = ends_of(table)
    made = {"sender": ids.texts(table.frame[a]), "receiver": ids.texts(table.frame[b])}
    for name in arrays_of(table):
        values = columns.to_numbers(table.frame[name])
        if values is None:
            row = columns.first_text(table.frame[name])
            raise ValueError(f"{table.where}, column {name!r}, {table.place(row)}: no number; expected one")
        made[name.lower()] = values
    return pd.DataFrame(made)
