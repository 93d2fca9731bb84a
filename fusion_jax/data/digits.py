"""Handwritten digits that ship with scikit-learn: 1,797 nodes, four views made from the same 8 x 8 image.

The default data set: real data that needs no download.
"""

from __future__ import annotations

import hashlib

import numpy as np

from fusion_jax.data import graphs, splits
from fusion_jax.data.base import Dataset, Provenance, Summary
from fusion_jax.data.masks import missing_at_random
from fusion_jax.records import Target

SOURCE = "Alpaydin and Kaynak 1998 (UCI optical digits), test part, as in scikit-learn's load_digits"
LICENCE = "CC BY 4.0 (UCI)"
FILES = None  # part of scikit-learn
CHECKSUM = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"  # of images and labels as bytes
SUMMARY = Summary(
    nodes=1797,
    modalities={"pixels": 64, "fourier": 40, "gradients": 32, "profiles": 16},
    classes=10,
    graphs=("knn", *(f"knn_{view}" for view in ("pixels", "fourier", "gradients", "profiles"))),
)


def load(
    train_per_class: int = 2,
    val_per_class: int | None = None,
    neighbours: int = 10,
    missing: float = 0.0,
    snf: bool = False,
) -> Dataset:
    """Views `pixels` [64], `fourier` [40], `gradients` [32], `profiles` [16]; graphs `knn` on all, `knn_<view>`.

    Args:
        train_per_class, val_per_class: labels a class for training and for validation (None: as many); the rest is
            test.
        neighbours: k of the symmetric cosine graph on the standardised concatenation.
        snf: whether the edge set `snf` is made too, of what the modalities agree on (`graphs.fused`).
        missing: in [0, 1), probability that an image lacks a view, the same ones at every load; every image keeps at
            least one, and the graph is made from what is there.
    Raises:
        ValueError: `missing` out of range.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    held = bunch.data.astype(np.uint8).tobytes() + bunch.target.astype(np.uint8).tobytes()
    found = hashlib.sha256(held).hexdigest()
    if found != CHECKSUM:
        raise ValueError(f"scikit-learn's digits are not the known ones: sha256 {found}, expected {CHECKSUM}")
    images = bunch.images.astype(np.float64) / 16.0  # [N, 8, 8] in [0, 1]
    views = {
        "pixels": images.reshape(len(images), -1),
        "fourier": _fourier(images),
        "gradients": _gradients(images),
        "profiles": _profiles(images),
    }
    labels = bunch.target.astype(np.int32)
    mask = missing_at_random(len(labels), len(views), missing, "digits")
    features = {name: np.where(mask[:, [m]], x, 0).astype(np.float32) for m, (name, x) in enumerate(views.items())}
    return Dataset(
        name="digits",
        features=features,
        mask=mask,
        graphs=graphs.neighbour_graphs(features, mask, neighbours, fuse=snf),
        target=Target("classes", labels=labels, num_outputs=10),
        splits=splits.per_class(labels, train_per_class, val_per_class),
        provenance=Provenance(SOURCE, LICENCE, CHECKSUM),
        class_names=tuple(str(c) for c in range(10)),
        default_graph="knn",
        made=graphs.neighbour_recipes(features, neighbours, fuse=snf),
    )


def _fourier(images: np.ndarray) -> np.ndarray:
    """Magnitudes of the 2-D Fourier transform; of conjugate pairs one half is kept: [N, 8 * 5]."""
    return np.abs(np.fft.rfft2(images)).reshape(len(images), -1)


def _gradients(images: np.ndarray, cells: int = 2, bins: int = 8) -> np.ndarray:
    """Histograms of gradient orientation (full turn), weighted by magnitude, on a 2 x 2 grid: [N, 4 * 8].

    The image is padded by one pixel, gradients are central differences.
    """
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    gy = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    gx = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    size = np.hypot(gx, gy)
    angle = np.floor((np.arctan2(gy, gx) + np.pi) / (2 * np.pi) * bins).astype(int) % bins
    n, side = len(images), 8 // cells
    out = np.zeros((n, cells, cells, bins))
    for b in range(bins):
        hit = np.where(angle == b, size, 0).reshape(n, cells, side, cells, side)
        out[..., b] = hit.sum((2, 4))
    return out.reshape(n, -1)


def _profiles(images: np.ndarray) -> np.ndarray:
    """Row and column sums of the ink: [N, 8 + 8]."""
    return np.concatenate([images.sum(1), images.sum(2)], axis=1)
