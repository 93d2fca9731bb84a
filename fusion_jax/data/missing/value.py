"""Not at random: what is lost depends on itself, as where a sensor fails at what it would measure."""

from __future__ import annotations

import numpy as np

from fusion_jax.data.missing._propensity import STRENGTH, leading, probability
from fusion_jax.data.missing.base import Nodes


def value(nodes: Nodes, rng: np.random.Generator, *, rate: float = 0.3, strength: float = STRENGTH) -> np.ndarray:
    """Modality m of node n is lost with probability sigmoid(a_m + strength z_nm), on the average over the nodes that
    have it `rate`; z_nm is the node's standardised score on the first principal component of the modality itself."""
    gone = np.zeros(nodes.mask.shape, bool)
    uniform = rng.random(nodes.mask.shape)
    for m, x in enumerate(nodes.features.values()):
        has = nodes.mask[:, m]
        if has.any():
            gone[has, m] = uniform[has, m] < probability(leading(x, has)[has], rate, strength)
    return gone
