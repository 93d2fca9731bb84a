"""Planted links: nodes are joined with those nearest to them in two latent vectors, of which modalities hold one each.

Every node has two latent vectors a, b ~ N(0, I) in [latents], of which modality `a` and modality `b` hold a noisy image
each. Two nodes that are near in one of them need not be near in the other: only both modalities tell who is joined.
"""

from __future__ import annotations

import numpy as np

from fusion_jax.data import splits
from fusion_jax.data._planted import LICENCE, SOURCE, draw, provenance
from fusion_jax.data.base import Dataset, Summary
from fusion_jax.data.links import as_links
from fusion_jax.records import Target

__all__ = ["CHECKSUM", "FILES", "LICENCE", "SOURCE", "SUMMARY", "load"]
FILES = None
CHECKSUM = ""  # of its options, see `load`
SUMMARY = Summary(nodes=400, modalities={"a": 8, "b": 8}, classes=1, graphs=("near",))


def load(
    nodes: int = 400,
    latents: int = 2,
    dim: int = 8,
    noise: float = 0.2,
    missing: float = 0.0,
    degree: int = 6,
    negatives: float = 1.0,
    train: float = 0.7,
    val: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Modalities `a` and `b` [dim each]; graph `near`; its links and as many other pairs times `negatives`.

    Args:
        nodes, latents, dim, noise, missing, degree: see `_planted.draw`.
        negatives, train, val: see `links.as_links`.
        seed: of the data; the split has its own.
    Raises:
        ValueError: an option out of range.
    """
    options = dict(locals())
    rng, own = np.random.default_rng(seed), dict(nodes=nodes, latents=latents, dim=dim, noise=noise)
    made = draw("synthetic_links", rng, **own, missing=missing, degree=degree)
    plain = Dataset(
        name="synthetic_links",
        features=made.features,
        mask=made.mask,
        graphs={"near": made.near},
        target=Target("values", values=np.zeros(nodes)),  # until there are links
        splits=splits.fractions(np.zeros(nodes), train, val, stratify=False),
        provenance=provenance("synthetic_links", options),
        default_graph="near",
    )
    return as_links(plain, negatives=negatives, train=train, val=val, seed=seed)
