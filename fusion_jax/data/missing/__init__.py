"""How modalities come to be missing: one mechanism a file, for training (`data.missing`) and for analyses.

The words are Rubin's (1976). Missing completely at random: `uniform`, `one_modality`, `neighbourhood`; at random, where
what is seen decides: `observed`; not at random, where the label or what is lost decides: `label`, `value`. Ferrini et
al., "Rethinking GNNs and Missing Features" (2026, arXiv 2601.04855), ask models under the like of them entry by entry;
here a node loses a whole modality or nothing of it.

A mechanism is a function named like its file:

    name(nodes, rng, *, rate: float = 0.3, <options>) -> bool [N, M], true where the node loses the modality

It draws the same numbers whatever `rate` is, so that with equal generators what is lost at a lower rate is lost at a
higher one, and loses nothing at 0. Whether the node had the modality it need not ask. No node is spared: one may be
left with nothing, and have only what its neighbours say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from fusion_jax import zoo
from fusion_jax.data.base import Dataset
from fusion_jax.data.missing.base import Nodes

__all__ = ["Nodes", "lost", "without"]


def lost(name: str, nodes: Nodes, rng: np.random.Generator, **options: Any) -> np.ndarray:
    """bool [N, M], what a mechanism takes away of what the nodes have.

    Raises:
        ValueError: unknown mechanism or option, a rate outside [0, 1), or what the mechanism refuses.
    """
    zoo.check_options("missing", name, options)
    rate = options.get("rate", zoo.options("missing", name)["rate"])
    if not 0 <= rate < 1:
        raise ValueError(f"missing {name!r}: rate={rate}, expected a number in [0, 1)")
    return zoo.get("missing", name)(nodes, rng, **options) & nodes.mask


def without(data: Dataset, name: str, options: Mapping[str, Any], graph: str = "") -> Dataset:
    """The data set without what the mechanism takes away, the same at every call; as it is where `name` is "".

    Args:
        graph: the edge set it may look at; the default one if "".
    Raises:
        ValueError: see `lost`.
    """
    if not name:
        return data
    gone = lost(name, Nodes.of(data, graph), np.random.default_rng(0), **options)
    return dataclasses.replace(data, mask=data.mask & ~gone)
