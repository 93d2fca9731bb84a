"""Planted labels, several a row: a third is decided by one modality, a third by the other, a third by both together.

Every node has two latent vectors a, b in [labels], of which modality `a` and modality `b` hold a noisy image each. Node
n has label k where

    k mod 3 = 0: a_k > 0,    k mod 3 = 1: b_k > 0,    k mod 3 = 2: a_k b_k > 0,

so that of every third label neither modality tells anything by itself. Edges join nodes that are near in (a, b).
"""

from __future__ import annotations

import numpy as np

from fusion_jax.data import splits
from fusion_jax.data._planted import LICENCE, SOURCE, draw, provenance
from fusion_jax.data.base import Dataset, Summary
from fusion_jax.records import Target

__all__ = ["CHECKSUM", "FILES", "LICENCE", "SOURCE", "SUMMARY", "load"]
FILES = None
CHECKSUM = ""  # of its options, see `load`
SUMMARY = Summary(nodes=600, modalities={"a": 12, "b": 12}, classes=6, graphs=("near",))


def load(
    nodes: int = 600,
    labels: int = 6,
    dim: int = 12,
    noise: float = 0.3,
    missing: float = 0.0,
    degree: int = 6,
    train: float = 0.5,
    val: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Modalities `a` and `b` [dim each]; graph `near`; labels bool [N, labels].

    Args:
        labels: C, at least 1.
        nodes, dim, noise, missing, degree: see `_planted.draw`.
        train, val: shares of the nodes; the rest is test.
        seed: of the data; the split has its own.
    Raises:
        ValueError: an option out of range.
    """
    options = dict(locals())
    if labels < 1:
        raise ValueError(f"data set 'synthetic_labels': labels={labels}, expected at least 1")
    rng, own = np.random.default_rng(seed), dict(nodes=nodes, latents=labels, dim=dim, noise=noise)
    made = draw("synthetic_labels", rng, **own, missing=missing, degree=degree)
    held = np.stack([made.a, made.b, made.a * made.b])[np.arange(labels) % 3, :, np.arange(labels)].T > 0
    return Dataset(
        name="synthetic_labels",
        features=made.features,
        mask=made.mask,
        graphs={"near": made.near},
        target=Target("labels", labels=held, num_outputs=labels),
        splits=splits.fractions(np.zeros(nodes), train, val, stratify=False),
        provenance=provenance("synthetic_labels", options),
        default_graph="near",
    )
