"""What data sets share whose modalities are descriptors of one thing, kept in a MATLAB file: reading it, the record."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from fusion_jax.data import graphs
from fusion_jax.data.base import Dataset, Provenance, Splits
from fusion_jax.records import Target


def cells(path: pathlib.Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The views {name: float32 [N, d_m]} of cell array `X`, and labels int32 [N] from 0 on of `Y`, which counts from 1.

    Raises:
        ValueError: another number of views than names.
    """
    from scipy.io import loadmat

    held = loadmat(path)
    views = zip(names, held["X"].ravel(), strict=True)
    return {name: x.astype(np.float32) for name, x in views}, held["Y"].ravel().astype(np.int32) - 1


def dataset(
    name: str,
    features: dict[str, np.ndarray],
    labels: np.ndarray,
    splits: Splits,
    provenance: Provenance,
    class_names: tuple[str, ...],
    *,
    neighbours: int,
    snf: bool,
) -> Dataset:
    """The record of classes of nodes that have all views, with graphs `knn` on all and `knn_<view>` on each.

    Args:
        neighbours: k of the symmetric cosine graphs on standardised features.
        snf: whether the edge set `snf` is made too, of what the modalities agree on (`graphs.fused`).
    """
    mask = np.ones((len(labels), len(features)), bool)
    return Dataset(
        name=name,
        features=features,
        mask=mask,
        graphs=graphs.neighbour_graphs(features, mask, neighbours, fuse=snf),
        target=Target("classes", labels=labels, num_outputs=len(class_names)),
        splits=splits,
        provenance=provenance,
        class_names=class_names,
        default_graph="knn",
        made=graphs.neighbour_recipes(features, neighbours, fuse=snf),
    )
