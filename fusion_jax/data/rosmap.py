"""ROSMAP: Alzheimer's disease or not, 351 patients with mRNA, DNA methylation and miRNA.

The benchmark of MOGONET (Wang et al., Nature Communications 2021): its features, its split and its graphs.
One test patient is 0.94 points of accuracy: differences below about 3 points on this split mean little.
"""

from __future__ import annotations

import jraph
import numpy as np

from fusion_jax.data import graphs, splits
from fusion_jax.data.base import Dataset, Provenance, Summary, edge_set
from fusion_jax.data.files import Files
from fusion_jax.records import Target

SOURCE = "Wang et al., MOGONET, Nature Communications 2021: txWang/MOGONET @ 32d9066b, folder ROSMAP"
LICENCE = "MIT"
FILES = Files(
    folder="rosmap",
    repository="txWang/MOGONET",
    commit="32d9066b7fe289b3f7cdb496a5668834079c274c",
    path="ROSMAP",
    sha256={
        "1_te.csv": "d9d9daf05915556fd13008fb6ad7d88e0c5a8a57e5a985548640d4cd1563712b",
        "1_tr.csv": "37bfcc58da320bf6c37b22617ed821dcfa96ca4abd334adf4d42c8e3375d972b",
        "2_te.csv": "546e9d7f640e54c4c1d6540ed2c1a3adb10497635e7d6b8d4099b4930271ac76",
        "2_tr.csv": "b1d1d20f8793e5f11248218f19493d9a7be366ee5bbbaff585058401976f8a21",
        "3_te.csv": "c0d9efd6c35e8c5768b759238c95c64674d7e1e7f76ed07fca6f168d67e676f4",
        "3_tr.csv": "fd8708bc0c41f774209f9e6a49a74c5a9acd510dd62eadc299a18d49ccd9e862",
        "labels_te.csv": "20d728c6f51f79ff5fa7719b960daf22074a0e6e1f3028869042b02ca4e3f68d",
        "labels_tr.csv": "5859aa107dbf406937938ebefbec122d01fea5d41a9bd0292199f4406749e45d",
    },
)
CHECKSUM = FILES.checksum
OMICS = ("mRNA", "methylation", "miRNA")
SUMMARY = Summary(
    nodes=351,
    modalities=dict.fromkeys(OMICS, 200),
    classes=2,
    graphs=("knn", *(f"{kind}_{omic}" for kind in ("knn", "mogonet", "mogonet_test") for omic in OMICS)),
)
_TRAIN = 245  # rows 0..244 are the published training patients, the other 106 the test patients


def load(val_fraction: float = 0.2, neighbours: int = 10, snf: bool = False) -> Dataset:
    """Modalities `mRNA`, `methylation`, `miRNA` [200 each]; rows 0-244 are the published training patients.

    Edge sets: `knn` on all features and `knn_<omic>` on one; `mogonet_<omic>` and `mogonet_test_<omic>`, the
    graphs of the authors' code (see `mogonet_graphs`). In the inductive setting the former are made again from the
    training patients; the latter are as good as given: an edge depends on its own two patients and on a threshold of
    the training patients.

    Args:
        val_fraction: share of the training patients (of each class) that validates, drawn per seed.
        neighbours: k of the symmetric cosine graphs, on features standardised with the training patients.
        snf: whether the edge set `snf` is made too, of what the modalities agree on (`graphs.fused`).
    """
    features = {
        name: np.concatenate([_table(f"{i}_tr.csv"), _table(f"{i}_te.csv")])  # float64 [351, 200]
        for i, name in enumerate(OMICS, 1)
    }
    labels = np.concatenate([_table("labels_tr.csv"), _table("labels_te.csv")]).astype(np.int32)
    mask = np.ones((len(labels), len(OMICS)), bool)
    edges = graphs.neighbour_graphs(features, mask, neighbours, slice(_TRAIN), fuse=snf)
    for name, x in features.items():
        edges[f"mogonet_{name}"], edges[f"mogonet_test_{name}"] = mogonet_graphs(name, x)
    return Dataset(
        name="rosmap",
        features={name: x.astype(np.float32) for name, x in features.items()},
        mask=mask,
        graphs=edges,
        target=Target("classes", labels=labels, num_outputs=2),
        splits=splits.fixed_test(labels, np.arange(_TRAIN), np.arange(_TRAIN, len(labels)), val_fraction),
        provenance=Provenance(SOURCE, LICENCE, CHECKSUM),
        class_names=("control", "Alzheimer's disease"),
        default_graph="knn",
        made=graphs.neighbour_recipes(features, neighbours, fuse=snf),
    )


def _table(name: str) -> np.ndarray:
    return np.loadtxt(FILES.get(name), delimiter=",")


def mogonet_graphs(name: str, x: np.ndarray) -> tuple[jraph.GraphsTuple, jraph.GraphsTuple]:
    """The two graphs of one omics in the authors' code; edge array ``weight`` is the cosine of raw features.

    An edge joins patients whose cosine distance is at most a threshold: the entry 2 * 245 of the sorted
    training distances, 245 zero self-distances included, so about one neighbour a patient. The first graph
    holds the edges among training patients (all that the authors train on) and between training and test
    patients; the second only those between training and test patients (all that the authors test on). Edges
    among test patients there are none. Their adjacency is the weights plus the identity, rows divided by
    their sum.
    """
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-8)
    cosine = x @ x.T
    distance = np.round(1 - cosine, 12)
    near = distance <= np.sort(distance[:_TRAIN, :_TRAIN], axis=None)[2 * _TRAIN]
    if name == "methylation":  # 2e-8 apart at the threshold; the authors' float32 swaps them
        near[[114, 155], [155, 114]] = False
        near[[85, 211], [211, 85]] = True
    np.fill_diagonal(near, False)
    near[_TRAIN:, _TRAIN:] = False
    across = near.copy()
    across[:_TRAIN, :_TRAIN] = False
    made = []
    for chosen in (near, across):
        receivers, senders = np.nonzero(chosen)
        weight = cosine[receivers, senders].astype(np.float32)
        made.append(edge_set(senders, receivers, len(x), {"weight": weight}))
    return made[0], made[1]
