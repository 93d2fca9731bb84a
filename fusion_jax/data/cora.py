"""Cora: 2,708 papers on machine learning, their words and who cites whom.

It pins the graph layers to the literature (GCN 81.5, GAT 83.0 on the public split); one modality is given,
the second is made from the graph, so it is no benchmark of fusion.
"""

from __future__ import annotations

from fusion_jax.data import _planetoid
from fusion_jax.data.base import Dataset, Summary

SOURCE = _planetoid.source("Sen et al. 2008, as split by Yang et al., Planetoid, ICML 2016")
LICENCE = _planetoid.LICENCE
FILES = _planetoid.files(
    "cora",
    {
        "allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
        "ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
        "graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
        "test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
        "tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
        "ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
        "x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
        "y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
    },
)
CHECKSUM = FILES.checksum
SUMMARY = Summary(nodes=2708, modalities={"words": 1433, "structure": 128}, classes=7, graphs=("citation",))


def load(structure_dim: int = 128) -> Dataset:
    """Modalities `words` (CSR, rows sum to 1) and `structure`; graph `citation`; one split for all seeds.

    Args:
        structure_dim: width of the encoding of the whole citation graph, see `graphs.spectral_encoding`.
    """
    classes = tuple(f"topic {c}" for c in range(SUMMARY.classes))  # the files do not name them
    return _planetoid.load("cora", FILES, SOURCE, classes, structure_dim)
