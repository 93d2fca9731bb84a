"""Completely at random, every node and modality by itself."""

from __future__ import annotations

import numpy as np

from fusion_jax.data.missing.base import Nodes


def uniform(nodes: Nodes, rng: np.random.Generator, *, rate: float = 0.3) -> np.ndarray:
    """Every entry is lost with probability `rate`, whatever else is."""
    return rng.random(nodes.mask.shape) < rate
