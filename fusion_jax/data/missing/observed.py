"""At random in Rubin's sense: what is lost depends on what is always seen, one modality that no node loses."""

from __future__ import annotations

import numpy as np

from fusion_jax.data.missing._propensity import STRENGTH, leading, probability
from fusion_jax.data.missing.base import Nodes


def observed(
    nodes: Nodes, rng: np.random.Generator, *, rate: float = 0.3, by: str = "", strength: float = STRENGTH
) -> np.ndarray:
    """Every other modality of node n is lost with probability sigmoid(a + strength z_n), on the average over the nodes
    `rate`; z is the standardised score on the first principal component of the modality `by`, 0 where a node lacks it.

    Args:
        by: the modality that decides; "" for the data set's first, be it one that the model sees or not.
    Raises:
        ValueError: no such modality, or there is no other.
    """
    n, m = nodes.mask.shape
    if m < 2:
        raise ValueError(f"missing 'observed': data set {nodes.name!r} has one modality, which has none to depend on")
    column = nodes.column("observed", "by", by) if by else 0
    p = probability(leading(list(nodes.features.values())[column], nodes.mask[:, column]), rate, strength)
    gone = rng.random((n, m)) < p[:, None]
    gone[:, column] = False
    return gone
