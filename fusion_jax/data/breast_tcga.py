"""Subtypes of breast cancer, 220 tumours with mRNA, miRNA and protein: no test tumour has protein.

The example data of mixOmics and DIABLO (Singh et al., Bioinformatics 2019), whose test set really lacks a modality.
Nearly saturated, as the subtype is defined by expression (mRNA alone: 96 to 97 %): for what a missing modality does to
a model, not for ranking fusions. No published table of it could be verified.
"""

from __future__ import annotations

import numpy as np

from fusion_jax.data import graphs, splits
from fusion_jax.data.base import Dataset, Provenance, Summary
from fusion_jax.data.files import Files
from fusion_jax.records import Target

SOURCE = (
    "TCGA, as filtered for DIABLO (Singh et al., Bioinformatics 2019): mixOmicsTeam/mixOmics @ d732983a, breast.TCGA"
)
LICENCE = "GPL (>= 2) of the R package; TCGA open-access tier"
FILES = Files(
    folder="breast-tcga",
    repository="mixOmicsTeam/mixOmics",
    commit="d732983ad52fdd7fb2496a7ca8ac1bec501a63ab",
    path="data",
    sha256={"derived_breast_tcga.npz": "a432e05492ccc03ad2bc59bb247073e951be0230a572dcc947121612fd1839b7"},
    derived=("derived_breast_tcga.npz",),
)
CHECKSUM = FILES.checksum
OMICS = {"mrna": 200, "mirna": 184, "protein": 142}
SUMMARY = Summary(nodes=220, modalities=OMICS, classes=3, graphs=("knn", *(f"knn_{omic}" for omic in OMICS)))


def load(val_fraction: float = 0.2, neighbours: int = 10, snf: bool = False) -> Dataset:
    """Modalities `mrna` [200], `mirna` [184], `protein` [142], the last missing in all test rows, 150-219.

    The npz holds the arrays of the R object `breast.TCGA` (data.train 0-149, data.test), read from data/breast.TCGA.rda
    by the Python package rdata 1.1.0, float64, without the tumours' identifiers: R's own format is not read here.
    Edge sets `knn` and `knn_<omic>`; tumours without protein have no edges in `knn_protein`.

    Args:
        val_fraction: share of the training tumours (of each class) that validates, drawn per seed.
        neighbours: k of the symmetric cosine graphs, on features standardised with the training tumours.
        snf: whether the edge set `snf` is made too, of what the modalities agree on (`graphs.fused`).
    """
    with np.load(FILES.get("derived_breast_tcga.npz"), allow_pickle=False) as held:
        arrays = dict(held)
    labels = np.concatenate([arrays["label_train"], arrays["label_test"]]).astype(np.int32)
    train = len(arrays["label_train"])
    features = {
        omic: np.concatenate(
            [arrays[f"{omic}_train"], arrays.get(f"{omic}_test", np.zeros((len(labels) - train, width)))]
        ).astype(np.float32)
        for omic, width in OMICS.items()
    }
    mask = np.ones((len(labels), len(OMICS)), bool)
    mask[train:, list(OMICS).index("protein")] = False
    return Dataset(
        name="breast_tcga",
        features=features,
        mask=mask,
        graphs=graphs.neighbour_graphs(features, mask, neighbours, slice(train), fuse=snf),
        target=Target("classes", labels=labels, num_outputs=3),
        splits=splits.fixed_test(labels, np.arange(train), np.arange(train, len(labels)), val_fraction),
        provenance=Provenance(SOURCE, LICENCE, CHECKSUM),
        class_names=tuple(map(str, arrays["classes"])),
        default_graph="knn",
        made=graphs.neighbour_recipes(OMICS, neighbours, fuse=snf),
        columns={omic: tuple(map(str, arrays[f"{omic}_names"])) for omic in OMICS},
    )
