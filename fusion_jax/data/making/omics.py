"""A data set from MuData or AnnData, in memory or as h5mu and h5ad: a modality an assay, cells joined by name."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from fusion_jax import folders, unpacked
from fusion_jax.data.base import Dataset
from fusion_jax.data.making.ids import check, texts
from fusion_jax.data.making.reading import Table
from fusion_jax.data.making.tables import from_tables
from fusion_jax.zoo import nearest

NEEDS = "pip install 'fusion_jax[omics]'"


def from_mudata(
    source: Any,
    label: str | None = None,
    *,
    use: Mapping[str, str] | None = None,
    edges: str | None = None,
    split: str | None = None,
    **options: Any,
) -> Dataset:
    """A data set from multi-omics data; see `tables.from_tables` for what is made of it.

    Values are taken as they are: normalise counts before. Ids are the names of the cells (`obs_names`).

    Args:
        source: a MuData or AnnData object, or the path of an h5mu or h5ad file.
        label: the column of `obs` to be predicted, of the whole or of one assay.
        use: {modality: what its features are}: "X", or a key of `layers` or `obsm` of the assay of that name; of an
            AnnData {modality: any of its keys}. X of every assay if None (the modality "x" of an AnnData).
        edges: a key of `obsp` (of the whole, or of one assay), such as "connectivities": a graph with its weights.
        split: a column of `obs` with train, val and test.
        options: the other keywords of `from_tables`.
    Raises:
        ImportError: a file is given and mudata (anndata) is not installed; says how to install it.
        FileNotFoundError, ValueError: no such file, column or key; names the nearest.
    """
    held = _read(source) if isinstance(source, str | os.PathLike) else source
    assays = dict(held.mod) if hasattr(held, "mod") else {}
    wholes = [("", held), *assays.items()]
    wanted = dict(use) if use else {m: "X" for m in assays} or {"x": "X"}
    tables = {m: _table(m, assays.get(m, held), key) for m, key in wanted.items()}
    columns = {"label": _column(wholes, label, "label")}
    if split is not None:
        columns["split"] = _column(wholes, split, "split")
    labels = pd.DataFrame({name: column for name, column in columns.items()})
    labels.insert(0, "id", labels.index)
    usual = dict(name=_name(source), source="MuData or AnnData of the user", target="label")
    pairs = None if edges is None else _edges(wholes, edges)
    return from_tables(tables, labels, pairs, "split" if split else None, **{**usual, **options})


def _name(source: Any) -> str:
    return pathlib.Path(source).stem if isinstance(source, str | os.PathLike) else "mudata"


def _read(source: str | os.PathLike) -> Any:
    path = pathlib.Path(folders.expand(source))
    if not path.is_file():
        raise FileNotFoundError(f"{os.fspath(path)}: no such file")
    kind = path.suffix.lower()
    if kind not in (".h5mu", ".h5ad"):
        raise ValueError(f"{path.name}: unknown kind of file {kind!r}; expected .h5mu or .h5ad")
    try:
        if kind == ".h5mu":
            from mudata import read_h5mu as read
        else:
            from anndata import read_h5ad as read
    except ImportError as error:
        raise ImportError(f"{path.name} is read by {error.name}, which is not installed: {NEEDS}") from error
    try:
        unpacked.check_hdf5(path, path.name)
        return read(path)
    except unpacked.TooLarge:
        raise
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path.name}: it cannot be read ({str(error).splitlines()[0][:200]})") from error


def _table(modality: str, assay: Any, key: str) -> Table:
    layers = {name: layer for name, layer in getattr(assay, "layers", {}).items() if name}  # anndata 0.13: None is X
    places = dict(X=getattr(assay, "X", None)) | layers | dict(assay.obsm)
    if places.get(key) is None:
        known = [name for name, value in places.items() if value is not None]
        raise ValueError(f"modality {modality!r}: no {key!r}{nearest(key, known)}; expected one of {', '.join(known)}")
    x = places[key]
    names = texts(assay.obs_names.tolist())
    own = list(map(str, assay.var_names)) if key == "X" else [f"{key}{i}" for i in range(x.shape[1])]
    if sp.issparse(x):
        frame = sp.csr_matrix(x)
    elif isinstance(x, pd.DataFrame):
        frame = x.reset_index(drop=True).set_axis([str(c) for c in x.columns], axis=1)
    else:
        frame = pd.DataFrame(np.asarray(x), columns=own if len(own) == x.shape[1] else None).rename(columns=str)
    table = Table(modality, frame, ids=names, id_column="obs_names")
    check(names, f"{modality}, obs_names", table.place)
    return table


def _column(wholes: list, name: str | None, what: str) -> pd.Series:
    """A column of `obs`, of the whole where it has it, else of the first assay that does; by the names of the cells."""
    for _, held in wholes:
        if name in held.obs.columns:
            column = held.obs[name].astype(object)
            return pd.Series(column.to_numpy(), index=texts(held.obs_names.tolist()))
    known = dict.fromkeys(str(c) for _, held in wholes for c in held.obs.columns)
    near = "" if name is None else nearest(name, known)
    raise ValueError(f"{what}={name!r}{near}; expected a column of obs: {', '.join(known) or 'there is none'}")


def _edges(wholes: list, key: str) -> pd.DataFrame:
    for _, held in wholes:
        if key in held.obsp:
            matrix, names = sp.coo_matrix(held.obsp[key]), np.array(texts(held.obs_names.tolist()), dtype=object)
            return pd.DataFrame(dict(source=names[matrix.row], target=names[matrix.col], weight=matrix.data))
    known = dict.fromkeys(str(k) for _, held in wholes for k in held.obsp)
    raise ValueError(
        f"edges={key!r}{nearest(key, known)}; expected a key of obsp: {', '.join(known) or 'there is none'}"
    )
