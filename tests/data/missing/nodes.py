"""Nodes for the tests of what goes missing."""

from __future__ import annotations

import numpy as np

from fusion_jax.data.missing import Nodes
from fusion_jax.records import Target

N = 4000


def made(n: int = N, modalities: int = 3, lacks: float = 0.1, **changes) -> Nodes:
    """Modalities of three columns, of which the first varies most; two classes; a ring."""
    rng = np.random.default_rng(1)
    features = {f"m{m}": rng.normal(size=(n, 3)) * [5, 1, 1] for m in range(modalities)}
    given = dict(
        features=features,
        mask=rng.random((n, modalities)) >= lacks,
        target=Target("classes", labels=rng.integers(2, size=n), num_outputs=2),
        senders=np.arange(n),
        receivers=(np.arange(n) + 1) % n,
    )
    return Nodes("here", **{**given, **changes})
