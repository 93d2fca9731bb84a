"""Node-negative breast cancer of 198 patients: 76 genes and four clinical values, time to distant metastasis.

51 patients (26 %) had the event; the others were followed for 3 to 25 years without. Part of scikit-survival, so
that there is nothing to download.
"""

from __future__ import annotations

import hashlib

import numpy as np

from fusion_jax.data import graphs, splits
from fusion_jax.data.base import Dataset, Provenance, Summary, edge_set
from fusion_jax.records import Target

SOURCE = "Desmedt et al. 2007 (TRANSBIG, GEO GSE7390), as in scikit-survival's load_breast_cancer"
LICENCE = "none stated at GEO (public); scikit-survival: GPL-3.0-or-later"
FILES = None  # part of scikit-survival
PACKAGE = ("sksurv", "fusion_jax[survival]")
CHECKSUM = "807e9bb71f880b83c4df7ef1ffb090216fffa1558b7d2a18f82d9c1a965db805"  # of features, events and times as bytes
SUMMARY = Summary(
    nodes=198,
    modalities={"genes": 76, "clinical": 4},
    classes=1,
    graphs=("knn", "knn_genes", "knn_clinical", "alone"),
)
CLINICAL = ("age", "er", "grade", "size")
ER = {"negative": 0, "positive": 1}
# Two grades are "unkown" (so spelt there): the middle of the scale, a constant that no row has a say in.
GRADE = {"well differentiated": 1, "intermediate": 2, "poorly differentiated": 3, "unkown": 2}


def load(train: float = 0.6, val: float = 0.2, neighbours: int = 5, snf: bool = False) -> Dataset:
    """Modalities `genes` [76] (log expression) and `clinical` [4]: age in years, oestrogen receptor, grade, size in cm.

    The time is in days. Graphs: `knn`, `knn_genes`, `knn_clinical`, and `alone`, which has no edges.

    Args:
        train, val: shares of the patients with, and of those without the event; the rest is test.
        neighbours: k of the symmetric cosine graphs on standardised features.
        snf: whether the edge set `snf` is made too, of what the modalities agree on (`graphs.fused`).
    Raises:
        ImportError: scikit-survival is not installed; says how to install it.
        ValueError: its contents are not the known ones.
    """
    try:
        from sksurv.datasets import load_breast_cancer
    except ImportError as error:
        message = "data set 'breast_cancer' needs scikit-survival: pip install 'fusion_jax[survival]'"
        raise ImportError(message) from error

    x, y = load_breast_cancer()
    clinical = x[list(CLINICAL)].astype({"er": object, "grade": object})
    clinical = clinical.assign(er=clinical.er.map(ER), grade=clinical.grade.map(GRADE))
    features = {
        "genes": x.drop(columns=list(CLINICAL)).to_numpy(np.float32),
        "clinical": clinical.to_numpy(np.float32),
    }
    event, time = np.asarray(y["e.tdm"], bool), np.asarray(y["t.tdm"], np.float32)
    _check(features, event, time)
    n = len(time)
    mask = np.ones((n, len(features)), bool)
    edges = graphs.neighbour_graphs(features, mask, neighbours, fuse=snf)
    edges["alone"] = edge_set(np.zeros(0, int), np.zeros(0, int), n)
    return Dataset(
        name="breast_cancer",
        features=features,
        mask=mask,
        graphs=edges,
        target=Target("survival", time=time, event=event),
        splits=splits.fractions(event, train, val),
        provenance=Provenance(SOURCE, LICENCE, CHECKSUM),
        default_graph="knn",
        made=graphs.neighbour_recipes(features, neighbours, fuse=snf),
    )


def _check(features: dict[str, np.ndarray], event: np.ndarray, time: np.ndarray) -> None:
    """Raises ValueError unless the arrays are the known ones."""
    held = b"".join(a.tobytes() for a in (*features.values(), event, time))
    found = hashlib.sha256(held).hexdigest()
    if found != CHECKSUM:
        message = f"scikit-survival's breast cancer data are not the known ones: sha256 {found}, expected {CHECKSUM}"
        raise ValueError(message)
