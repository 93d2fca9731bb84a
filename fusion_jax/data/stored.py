"""A data set as one file: compressed NumPy arrays and their description in JSON, nothing that is executed when read.

The file holds what the record holds but for two things. Rows of dense features that the mask hides are 0. Of the splits
it has the rule and the split of seed 0, which the fingerprint counts; those of the seeds of a cell stand in its
predictions. So what is read has the fingerprint of what was written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import jraph
import numpy as np
import scipy.sparse as sp

from fusion_jax import tasks, unpacked
from fusion_jax.data.base import Dataset, Neighbours, Provenance, Split, Splits, arrays_of
from fusion_jax.data.graphs import FromFeatures

PARTS = ("train", "val", "test")
SPARSE = ("data", "indices", "indptr")


def key(data: Dataset) -> str:
    """16 hex digits that tell apart data sets of which the file holds something different."""
    held = [data.fingerprint, data.name, data.default_graph, data.setting, list(data.class_names), data.columns]
    ids = None if data.ids is None else data.ids.tolist()
    return hashlib.sha256(json.dumps([*held, ids]).encode()).hexdigest()[:16]


def size(data: Dataset) -> int:
    """Bytes of the arrays before they are compressed."""
    return sum(array.nbytes for array in _arrays(data).values())


def pack(data: Dataset) -> bytes:
    """The file's content.

    Raises:
        ValueError: seed 0 has no split.
    """
    split = data.splits.draw(0)
    about = dict(
        name=data.name,
        modalities={name: [*x.shape] if sp.issparse(x) else None for name, x in data.features.items()},
        graphs={
            name: dict(edges=[*(g.edges or {})], made=isinstance(g, FromFeatures)) for name, g in data.graphs.items()
        },
        target=tasks.of(data.target).about(data.target),
        fields=[name for name, _ in arrays_of(data.target)],
        splits=dict(rule=data.splits.rule, fixed=bool(data.splits.fixed), exchangeable=bool(data.splits.exchangeable)),
        provenance=dataclasses.asdict(data.provenance) | dict(of_arrays=False),
        class_names=list(data.class_names),
        setting=data.setting,
        default_graph=data.default_graph,
        made={name: dataclasses.asdict(how) for name, how in data.made.items()},
        columns={name: list(called) for name, called in data.columns.items()},
        ids=None if data.ids is None else data.ids.tolist(),
        impute=data.impute,
    )
    arrays = _arrays(data) | {f"split/{part}": np.asarray(getattr(split, part)) for part in PARTS}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    return buffer.getvalue()


def unpack(content: bytes) -> Dataset:
    """The data set of a file's content, validated; its splits know the split of seed 0 only.

    Raises:
        ValueError: no such file.
    """
    try:
        unpacked.check_npz(content, "it")
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            arrays = dict(held)
        about = json.loads(arrays["about"].tobytes())
    except unpacked.TooLarge:
        raise
    except Exception as error:  # zipfile, zlib and NumPy have errors of their own
        raise ValueError(f"no data set as fusion_jax stores it: {error}") from error
    own = Split(*(arrays[f"split/{part}"] for part in PARTS))
    return Dataset(
        name=about["name"],
        features={
            name: _features(arrays, f"features/{i}", shape)
            for i, (name, shape) in enumerate(about["modalities"].items())
        },
        mask=arrays["mask"],
        graphs={name: _graph(arrays, f"graphs/{i}", how) for i, (name, how) in enumerate(about["graphs"].items())},
        target=tasks.restored(about["target"], {f: arrays[f"target/{i}"] for i, f in enumerate(about["fields"])}),
        splits=Splits(Kept({0: own}), **about["splits"]),
        provenance=Provenance(**about["provenance"]),
        class_names=tuple(about["class_names"]),
        setting=about["setting"],
        default_graph=about["default_graph"],
        made={name: Neighbours(**{k: _tuples(v) for k, v in how.items()}) for name, how in about["made"].items()},
        columns={name: tuple(called) for name, called in about["columns"].items()},
        ids=None if about["ids"] is None else np.array(about["ids"], dtype=str),
        labelled=arrays.get("labelled"),
        impute=about["impute"],
    )


@dataclasses.dataclass(frozen=True)
class Kept:
    """Draws the splits that are known."""

    splits: Mapping[int, Split]

    def __call__(self, seed: int) -> Split:
        if seed not in self.splits:
            raise ValueError(f"seed {seed}: its split is not kept, only {', '.join(map(str, self.splits))}")
        return self.splits[seed]


def _arrays(data: Dataset) -> dict[str, np.ndarray]:
    found = {"mask": data.mask} | ({} if data.labelled is None else {"labelled": data.labelled})
    for i, x in enumerate(data.features.values()):
        if sp.issparse(x):
            found |= {f"features/{i}/{part}": getattr(x, part) for part in SPARSE}
        else:
            found[f"features/{i}"] = np.where(data.mask[:, [i]], x, 0)
    for i, g in enumerate(data.graphs.values()):
        found |= {f"graphs/{i}/{name}": np.asarray(getattr(g, name)) for name in ("senders", "receivers", "n_node")}
        found |= {f"graphs/{i}/edges/{k}": np.asarray(v) for k, v in enumerate((g.edges or {}).values())}
    return found | {f"target/{i}": np.asarray(value) for i, (_, value) in enumerate(arrays_of(data.target))}


def _features(arrays: Mapping[str, np.ndarray], at: str, shape: list[int] | None) -> np.ndarray | sp.csr_matrix:
    if shape is None:
        return arrays[at]
    return sp.csr_matrix(tuple(arrays[f"{at}/{part}"] for part in SPARSE), shape=tuple(shape))


def _graph(arrays: Mapping[str, np.ndarray], at: str, how: Mapping[str, Any]) -> jraph.GraphsTuple:
    n_node, receivers = arrays[f"{at}/n_node"], arrays[f"{at}/receivers"]
    graph_of = np.searchsorted(np.cumsum(n_node), receivers, side="right")
    return (FromFeatures if how["made"] else jraph.GraphsTuple)(
        nodes=None,
        edges={name: arrays[f"{at}/edges/{k}"] for k, name in enumerate(how["edges"])} or None,
        receivers=receivers,
        senders=arrays[f"{at}/senders"],
        globals=None,
        n_node=n_node,
        n_edge=np.bincount(graph_of, minlength=len(n_node)).astype(np.int32),
    )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
