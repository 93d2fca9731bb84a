"""Two planted targets of the same nodes: a class that both modalities tell together, and a value that each tells half.

Every node has two latent vectors a, b ~ N(0, I) in [2], of which modality `a` and modality `b` hold a noisy image each.

    quadrant  classes: 2 [a_1 b_1 > 0] + [a_2 b_2 > 0], of which neither modality tells anything by itself
    height    values: (a_1 + b_1) / sqrt(2), a_2 - b_2

Edges join nodes that are near in (a, b).
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
SUMMARY = Summary(nodes=600, modalities={"a": 8, "b": 8}, classes=6, graphs=("near",))


def load(
    nodes: int = 600,
    dim: int = 8,
    noise: float = 0.3,
    missing: float = 0.0,
    degree: int = 6,
    train: float = 0.5,
    val: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Modalities `a` and `b` [dim each]; graph `near`; targets `quadrant` (4 classes) and `height` (2 values).

    Args:
        nodes, dim, noise, missing, degree: see `_planted.draw`.
        train, val: shares of the nodes of every quadrant; the rest is test.
        seed: of the data; the split has its own.
    Raises:
        ValueError: an option out of range.
    """
    options = dict(locals())
    rng, own = np.random.default_rng(seed), dict(nodes=nodes, latents=2, dim=dim, noise=noise)
    made = draw("synthetic_several", rng, **own, missing=missing, degree=degree)
    (first, second), (a, b) = (made.a * made.b > 0).T, (made.a, made.b)
    quadrant = 2 * first + second
    height = np.stack([(a[:, 0] + b[:, 0]) / np.sqrt(2), a[:, 1] - b[:, 1]], 1).astype(np.float32)
    return Dataset(
        name="synthetic_several",
        features=made.features,
        mask=made.mask,
        graphs={"near": made.near},
        target=Target(
            "several",
            quadrant=Target("classes", labels=quadrant, num_outputs=4),
            height=Target("values", values=height, num_outputs=2),
        ),
        splits=splits.fractions(quadrant, train, val),
        provenance=provenance("synthetic_several", options),
        default_graph="near",
    )
