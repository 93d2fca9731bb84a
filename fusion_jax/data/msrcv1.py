"""MSRC-v1: seven classes of objects, 210 images, six descriptors of 48 to 1,302 numbers.

At 80 % training images 42 are test, one of them 2.4 points: at least ten seeds. There is another version of this set,
of five views, whose published figures are not of these features.
"""

from __future__ import annotations

from fusion_jax.data import _views, splits
from fusion_jax.data.base import Dataset, Provenance, Summary
from fusion_jax.data.files import Files

SOURCE = "Winn and Jojic 2005 (MSRC-v1), six descriptors as in kunzhan/SDSNE @ 8566a0f4"
LICENCE = "none stated in the repository"
FILES = Files(
    folder="msrcv1",
    repository="kunzhan/SDSNE",
    commit="8566a0f4fa5dc9aaaafbb63073ceffad5f4848a0",
    path="data",
    sha256={"msrcv1.mat": "7bebe9d747c2538318df12094133cca0b78a03deb602734b4dbca9f99340c80e"},
)
CHECKSUM = FILES.checksum
VIEWS = {"centrist": 1302, "colour": 48, "gist": 512, "hog": 100, "lbp": 256, "sift": 210}
SUMMARY = Summary(nodes=210, modalities=VIEWS, classes=7, graphs=("knn", *(f"knn_{view}" for view in VIEWS)))


def load(
    train: float = 0.7, val: float = 0.1, stratify: bool = True, neighbours: int = 10, snf: bool = False
) -> Dataset:
    """Views `centrist`, `colour`, `gist`, `hog`, `lbp`, `sift`; graphs `knn` and one `knn_<view>` a view.

    The file does not name the views: these are the literature's names, which fit the widths.

    Args:
        train, val: shares of the images (of every class if `stratify`) that train and validate; the rest is test.
        stratify: whether every class is split by itself.
        neighbours: k of the symmetric cosine graphs on standardised features.
        snf: whether the edge set `snf` is made too, of what the modalities agree on (`graphs.fused`).
    """
    features, labels = _views.cells(FILES.get("msrcv1.mat"), tuple(VIEWS))
    return _views.dataset(
        "msrcv1",
        features,
        labels,
        splits.fractions(labels, train, val, stratify=stratify),
        Provenance(SOURCE, LICENCE, CHECKSUM),
        tuple(f"object {c}" for c in range(1, 8)),  # nor the classes
        neighbours=neighbours,
        snf=snf,
    )
