"""Citeseer: 3,327 papers on computer science, their words and who cites whom; 48 nodes have no edge.

Like Cora it pins the graph layers to the literature (GCN 70.3, GAT 72.5 on the public split). Fifteen nodes
have edges but neither words nor label: their words are masked, and no part of the split holds them.
"""

from __future__ import annotations

from fusion_jax.data import _planetoid
from fusion_jax.data.base import Dataset, Summary

SOURCE = _planetoid.source("Sen et al. 2008, as split by Yang et al., Planetoid, ICML 2016")
LICENCE = _planetoid.LICENCE
FILES = _planetoid.files(
    "citeseer",
    {
        "allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
        "ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
        "graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
        "test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
        "tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
        "ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
        "x": "d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6",
        "y": "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
    },
)
CHECKSUM = FILES.checksum
SUMMARY = Summary(nodes=3327, modalities={"words": 3703, "structure": 128}, classes=6, graphs=("citation",))


def load(structure_dim: int = 128) -> Dataset:
    """Modalities `words` (CSR, rows sum to 1) and `structure`; graph `citation`; one split for all seeds.

    Args:
        structure_dim: width of the encoding of the whole citation graph, see `graphs.spectral_encoding`.
    """
    classes = tuple(f"topic {c}" for c in range(SUMMARY.classes))  # the files do not name them
    return _planetoid.load("citeseer", FILES, SOURCE, classes, structure_dim)
