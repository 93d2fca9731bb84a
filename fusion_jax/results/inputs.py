"""What a finished cell keeps so that it can predict without the data set it was trained on.

    <workdir>/data/<key>.npz                  the data set (`data.stored`), once for all cells that were trained on it;
                                              none where it is larger than `LIMIT`
    <workdir>/cells/<id>/<part>/cost.json     inputs: the modalities with their widths, in order, the names of the
                                              classes, and which of the files above, with its sha256
    <workdir>/cells/<id>/<part>/checkpoint/   inputs: shift and scale of every modality (by its number), which
                                              modalities are known, what fills single values, the units of the target

The splits of the seeds stand in the predictions. Cells of earlier versions have none of it, and want their data set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from fusion_jax import folders
from fusion_jax.data import stored
from fusion_jax.data.base import Dataset, Split
from fusion_jax.results.lock import briefly
from fusion_jax.results.store import Store, write_bytes
from fusion_jax.training.prepare import Prepared

LIMIT = 64 * 2**20  # bytes of arrays, before they are compressed


def keep(store: Store, data: Dataset, prepared: Prepared) -> dict[str, Any]:
    """Keeps the data set in the store, unless it is there or too large; returns `inputs` of a part's cost.json."""
    held = dict(name=data.name, fingerprint=data.fingerprint, bytes=stored.size(data))
    if held["bytes"] <= LIMIT:
        path = store.root / "data" / f"{stored.key(data)}.npz"
        if not path.exists():
            with briefly(store.root):  # one writes it, whose digest all keep
                if not path.exists():
                    folders.made(path.parent)
                    write_bytes(path, stored.pack(data))
        held |= dict(file=f"data/{path.name}", sha256=folders.digest(folders.read(path)))
    widths = [[name, int(x.shape[1])] for name, x in prepared.batch.features.items()]
    return dict(modalities=widths, classes=list(data.class_names), data=held)


def fitted(prepared: Prepared) -> dict[str, Any]:
    """What was fitted on each seed's training rows, [S, ...], for its checkpoint; modalities by their numbers."""
    trials, found = prepared.trials, {}
    for what in ("shift", "scale", "fill"):
        if own := getattr(trials, what, None):
            found[what] = {str(m): np.asarray(own[name]) for m, name in enumerate(prepared.batch.names)}
    if trials.known is not None:
        found["known"] = np.asarray(trials.known)
    if prepared.units is not None:
        found["units"] = {what: np.stack([getattr(u, what) for u in prepared.units]) for what in ("shift", "scale")}
    return found


def of_part(store: Store, identity: str) -> dict[str, Any] | None:
    """`inputs` of the cell's first part; None where one of its parts was stored without."""
    found = [cost.get("inputs") for cost in store.costs(identity)]
    return found[0] if all(found) else None


def data_of(store: Store, inputs: Mapping[str, Any]) -> Dataset | None:
    """The data set that a cell has kept; None where it was too large.

    Raises:
        Damaged: its file is missing or not what was written.
    """
    held = inputs["data"]
    if "file" not in held:
        return None
    if not folders.is_inside(held["file"]):
        raise folders.Damaged(f"{os.fspath(store.root)}: data set {held['file']!r}; expected a file of that folder")
    path = store.root / held["file"]
    try:
        return stored.unpack(folders.read_checked(path, held["sha256"]))
    except folders.Damaged:
        raise
    except ValueError as error:
        raise folders.Damaged(f"{os.fspath(path)}: {error}") from error


def splits_of(store: Store, identity: str, protocol: str) -> dict[int, Split]:
    """{seed: its split as selection used it}, from the parts that the stored predictions name."""
    found = {}
    for table in store.columns(identity, "predictions"):
        for seed in np.unique(table["seed"]):
            own = table["seed"] == seed
            row, part = table["row"][own], table["part"][own]
            train, val, test = (np.sort(row[part == name]).astype(np.int64) for name in stored.PARTS)
            found[int(seed)] = Split(train, test if protocol == "paper" else val, test)
    return found
