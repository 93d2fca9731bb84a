"""Reads Cora and Citeseer as published with Planetoid (Yang, Cohen, Salakhutdinov, ICML 2016)."""

from __future__ import annotations

import io
import pickle

import numpy as np
import scipy.sparse as sp

from fusion_jax.data import graphs, splits
from fusion_jax.data.base import Dataset, Provenance, edge_set
from fusion_jax.data.files import Files
from fusion_jax.types import Target

LICENCE = "MIT"
_PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")


def files(name: str, sha256: dict[str, str]) -> Files:
    """The eight files of one set; `sha256` by the last part of their names."""
    return Files(
        folder="planetoid",
        repository="kimiyoung/planetoid",
        commit="af6abf468a772cc055bec88c52e4d6f51b7c37e3",
        path="data",
        sha256={f"ind.{name}.{part}": sha256[part] for part in _PARTS},
    )


def source(paper: str) -> str:
    return f"{paper}; kimiyoung/planetoid @ af6abf46, folder data"


def load(name: str, files: Files, source: str, class_names: tuple[str, ...], structure_dim: int) -> Dataset:
    """The data set with its public split: 20 labels a class, the next 500 nodes, the 1,000 of `test.index`.

    Row i of the test part belongs to node test.index[i]. A number that the test range skips is a node with
    edges but without words and label: its words are masked, its label is 0 by form, and it is in no part of the
    split.
    """
    parts = {part: _read(files, f"ind.{name}.{part}") for part in _PARTS[:-1]}
    test = np.loadtxt(files.get(f"ind.{name}.test.index"), dtype=int)
    n = max(len(parts["graph"]), int(test.max()) + 1)
    known = np.concatenate([np.arange(len(parts["ally"])), test])  # node of every row that there is
    words = sp.vstack([parts["allx"], parts["tx"]]).tocsr().astype(np.float32)
    order = np.full(n, len(known))  # row of every node; one empty row more for those without
    order[known] = np.arange(len(known))
    words = sp.vstack([words, sp.csr_matrix((1, words.shape[1]), dtype=np.float32)]).tocsr()[order]
    count = np.asarray(words.sum(1)).ravel()
    words = sp.csr_matrix(sp.diags((1 / np.maximum(count, 1)).astype(np.float32)) @ words)
    labels = np.zeros(n, np.int32)
    labels[known] = np.concatenate([parts["ally"], parts["ty"]]).argmax(1)
    mask = np.ones((n, 2), bool)
    mask[np.setdiff1d(np.arange(n), known), 0] = False
    citation = _citations(parts["graph"], n)
    train = len(parts["y"])
    return Dataset(
        name=name,
        features={"words": words, "structure": graphs.spectral_encoding(citation, structure_dim)},
        mask=mask,
        graphs={"citation": citation},
        target=Target("classes", labels=labels, num_outputs=len(class_names)),
        splits=splits.fixed(
            np.arange(train), np.arange(train, train + 500), test,
            "public: 20 training labels a class, 500 validation and 1,000 test nodes",
        ),
        provenance=Provenance(source, LICENCE, files.checksum),
        class_names=class_names,
        default_graph="citation",
    )  # fmt: skip


def _citations(neighbours: dict[int, list[int]], n: int):
    """Both directions of every citation, each once, without loops."""
    pairs = np.array([(i, j) for i, others in neighbours.items() for j in others if i != j])
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    return edge_set(pairs[:, 0], pairs[:, 1], n)


def _read(files: Files, name: str):
    path = files.get(name)
    try:
        return read_pickle(path.read_bytes())
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: {error}") from error


def read_pickle(data: bytes):
    """A Python 2 pickle of arrays, CSR matrices and dicts of lists, and of nothing else.

    Raises:
        pickle.UnpicklingError: it names any other global; nothing of it is imported or called.
    """
    value = _Unpickler(io.BytesIO(data), encoding="latin1").load()
    if isinstance(value, _Csr):
        return sp.csr_matrix((value.data, value.indices, value.indptr), shape=value._shape)
    return value


_NDARRAY = object()  # stands for the class, so that a pickle can name it but not call it


class _Csr:
    """Holds the attributes of a pickled CSR matrix."""


def _reconstruct(subtype, shape: tuple, code) -> np.ndarray:
    """NumPy's own makes an array of any class and shape; an honest pickle asks for an empty one."""
    del code
    if subtype is not _NDARRAY or tuple(shape) != (0,):
        raise pickle.UnpicklingError(f"refused: an array of shape {shape!r} and of an unusual class")
    return np.empty(0, np.int8)


def _dict(factory: type) -> dict:
    del factory  # a default would only turn a missing node into a new one
    return {}


_ADMITTED = {
    ("scipy.sparse.csr", "csr_matrix"): _Csr,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): np.dtype,
    ("collections", "defaultdict"): _dict,
    ("__builtin__", "list"): list,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"refused: the pickle asks for {module}.{name}; no array needs it")
        return _ADMITTED[module, name]
