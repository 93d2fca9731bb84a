"""Your own data: a folder of tables joined by id, without a line of code.

    python -m experiments.train --config.data.name=tables --config.data.options.folder=DIR --workdir=results/mine

Which file is what is said in `fusion_jax/data/making/folder.py`: `labels.csv`, `edges.csv`, `split.csv`, and every
other table a modality. `python -m experiments.data --folder=DIR` reads it and says what was found, without training.
"""

from __future__ import annotations

from fusion_jax.data.base import Dataset
from fusion_jax.data.making import folder as making_folder

SOURCE = "the user's own"
LICENCE = "not stated"
FILES = None
CHECKSUM = ""  # of what the tables hold
PLACES = ("folder",)


def load(
    folder: str = "",
    id: str | None = None,
    by: str | None = None,
    join: str | None = None,
    target: str | list | tuple = (),
    task: str = "",
    onehot: bool | str | list | tuple | None = None,
    impute: str | None = None,
    directed: bool | None = None,
    graph: str = "",
    k: int | None = None,
    metric: str | None = None,
    mutual: bool | None = None,
    split: str = "",
    train: float | None = None,
    val: float | None = None,
    per_class: int | None = None,
    setting: str = "",
    header: bool | None = None,
) -> Dataset:
    """The tables of a folder; what is not given is what its `data.toml` says, else what `Dataset.from_tables` has.

    Args:
        folder: where the tables lie.
        split: a column of the labels, or a file of the folder.
        id, by, join, target, task, onehot, impute, directed, graph, k, metric, mutual, train, val, per_class, setting,
        header: see `making.tables.from_tables`.
    Raises:
        FileNotFoundError, ValueError: no such folder, or tables that cannot be joined; names file, column and row.
    """
    given = {name: value for name, value in locals().items() if value is not None and value not in ("", ())}
    if not given.pop("folder", ""):
        raise ValueError("data set 'tables' needs a folder: --config.data.options.folder=DIR")
    return making_folder.from_folder(folder, **given)


def called(folder: str = "", **options: object) -> str:
    """What the data set of a folder calls itself, without loading it; "tables" where that cannot be told."""
    del options
    try:
        return making_folder.called(folder) if folder else "tables"
    except (ValueError, OSError):
        return "tables"
