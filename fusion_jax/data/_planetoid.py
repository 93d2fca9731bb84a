"""Reads Cora and Citeseer as published with Planetoid (Yang, Cohen, Salakhutdinov, ICML 2016)."""

from __future__ import annotations

import pickle

import numpy as np
import scipy.sparse as sp

from fusion_jax.data import graphs, splits
from fusion_jax.data.base import Dataset, Provenance, edge_set
from fusion_jax.data.files import Files
from fusion_jax.data.pickles import read_pickle
from fusion_jax.records import Target

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
            np.arange(train),
            np.arange(train, train + 500),
            test,
            "public: 20 training labels a class, 500 validation and 1,000 test nodes",
        ),
        provenance=Provenance(source, LICENCE, files.checksum),
        class_names=class_names,
        default_graph="citation",
    )


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
