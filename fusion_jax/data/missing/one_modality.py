"""Completely at random, one modality and no other: a group of nodes loses it, as where a sensor was not installed."""

from __future__ import annotations

import numpy as np

from fusion_jax.data.missing.base import Nodes


def one_modality(nodes: Nodes, rng: np.random.Generator, *, rate: float = 0.3, modality: str = "") -> np.ndarray:
    """The share `rate` of the nodes that have the modality, rounded to a node and drawn uniformly, loses it.

    Args:
        modality: its name; "" for one that is drawn.
    Raises:
        ValueError: no such modality.
    """
    n, m = nodes.mask.shape
    drawn, order = int(rng.integers(m)), rng.permutation(n)
    column = nodes.column("one_modality", "modality", modality) if modality else drawn
    having = order[nodes.mask[order, column]]
    gone = np.zeros((n, m), bool)
    gone[having[: round(rate * len(having))], column] = True
    return gone
