"""One hundred plant species, 1,600 leaves, three descriptors of equal width: margin, shape and texture.

No view alone tells the species, together they do: with two labels a species logistic regression has 63 % on
the best view and 93 % on all three.
"""

from __future__ import annotations

import numpy as np

from fusion_jax.data import graphs, splits
from fusion_jax.data.base import Dataset, Neighbours, Provenance, Summary
from fusion_jax.data.files import Files
from fusion_jax.records import Target

SOURCE = "Mallah, Cope and Orwell 2013 (UCI One-hundred plant species leaves), as in kunzhan/SDSNE @ 8566a0f4"
LICENCE = "none stated in the repository; CC BY 4.0 at UCI (unverified)"
FILES = Files(
    folder="100leaves",
    repository="kunzhan/SDSNE",
    commit="8566a0f4fa5dc9aaaafbb63073ceffad5f4848a0",
    path="data",
    sha256={"100leaves.mat": "f6632a145c8d97101c6d3431868a70e5e714ac620ec359b185e8e67bfbc37c16"},
)
CHECKSUM = FILES.checksum
VIEWS = ("margin", "shape", "texture")
SUMMARY = Summary(
    nodes=1600,
    modalities=dict.fromkeys(VIEWS, 64),
    classes=100,
    graphs=("knn", *(f"knn_{view}" for view in VIEWS), "knn_union"),
)


def load(train_per_class: int = 2, val_per_class: int | None = None, neighbours: int = 5, snf: bool = False) -> Dataset:
    """Views `margin`, `shape`, `texture` [64 each]; graphs `knn`, one `knn_<view>` a view, and their union.

    Args:
        train_per_class, val_per_class: labels a class (of 16) for training and for validation (None: as many); the
            rest is test.
        neighbours: k of the symmetric cosine graphs on standardised features.
        snf: whether the edge set `snf` is made too, of what the modalities agree on (`graphs.fused`).
    """
    from scipy.io import loadmat

    held = loadmat(FILES.get("100leaves.mat"))
    features = {name: x.astype(np.float32) for name, x in zip(VIEWS, held["X"].ravel(), strict=True)}
    labels = held["Y"].ravel().astype(np.int32) - 1
    mask = np.ones((len(labels), len(VIEWS)), bool)
    # Texture of leaf 0 is the mean over the other leaves of its species: filled in with the label's help.
    mask[0, VIEWS.index("texture")] = False
    features["texture"][0] = 0
    knn = graphs.neighbour_graphs(features, mask, neighbours, fuse=snf)
    knn["knn_union"] = graphs.union([knn[f"knn_{view}"] for view in VIEWS])
    return Dataset(
        name="leaves100",
        features=features,
        mask=mask,
        graphs=knn,
        target=Target("classes", labels=labels, num_outputs=100),
        splits=splits.per_class(labels, train_per_class, val_per_class),
        provenance=Provenance(SOURCE, LICENCE, CHECKSUM),
        class_names=tuple(f"species {c}" for c in range(1, 101)),
        default_graph="knn",
        made=graphs.neighbour_recipes(VIEWS, neighbours, fuse=snf)
        | {"knn_union": Neighbours(neighbours, tuple((view,) for view in VIEWS))},
    )
