"""Land use in 21 classes, 2,100 aerial images, three descriptors: linear models have 65 %, an RBF SVM 79 %.

The figures are of the concatenation at 80 % training images: here the classifier matters more than the fusion.
"""

from __future__ import annotations

from fusion_jax.data import _views, splits
from fusion_jax.data.base import Dataset, Provenance, Summary
from fusion_jax.data.files import Files

SOURCE = "Yang and Newsam 2010 (UC Merced land use), descriptors as in XLearning-SCU/2021-CVPR-Completer @ ad371100"
LICENCE = "MIT"
FILES = Files(
    folder="landuse21",
    repository="XLearning-SCU/2021-CVPR-Completer",
    commit="ad37110046234341dab63b0ed0c862680a69e27a",
    path="data",
    sha256={"LandUse-21.mat": "6441fc42e84a83729e5a6436f4c1544dcc3fe115558458495b165677a732b67f"},
)
CHECKSUM = FILES.checksum
VIEWS = {"view1": 20, "view2": 59, "view3": 40}
SUMMARY = Summary(nodes=2100, modalities=VIEWS, classes=21, graphs=("knn", *(f"knn_{view}" for view in VIEWS)))


def load(
    train: float = 0.7, val: float = 0.1, stratify: bool = True, neighbours: int = 5, snf: bool = False
) -> Dataset:
    """Views `view1` [20], `view2` [59], `view3` [40], as in `scene15`; graphs `knn` and one `knn_<view>` a view.

    Args:
        train, val: shares of the images (of every class if `stratify`) that train and validate; the rest is test.
        stratify: whether every class is split by itself.
        neighbours: k of the symmetric cosine graphs on standardised features.
        snf: whether the edge set `snf` is made too, of what the modalities agree on (`graphs.fused`).
    """
    features, labels = _views.cells(FILES.get("LandUse-21.mat"), tuple(VIEWS))
    return _views.dataset(
        "landuse21",
        features,
        labels,
        splits.fractions(labels, train, val, stratify=stratify),
        Provenance(SOURCE, LICENCE, CHECKSUM),
        tuple(f"land use {c}" for c in range(1, 22)),  # the file does not name them
        neighbours=neighbours,
        snf=snf,
    )
