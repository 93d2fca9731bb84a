"""A small target of every task, and the data set it is of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fusion_jax.data import splits
from fusion_jax.data.base import Dataset, Provenance, edge_set
from fusion_jax.records import Target

ROWS = 120
RING = np.arange(ROWS)


def classes(rng) -> Target:
    return Target("classes", labels=rng.permutation(RING % 3), num_outputs=3)


def values(rng) -> Target:
    return Target("values", values=rng.normal(size=(ROWS, 2)) * [1, 1000] + 5, num_outputs=2)


def survival(rng) -> Target:
    return Target("survival", time=rng.exponential(size=ROWS) + 0.1, event=rng.permutation(RING % 2) > 0)


def labels(rng) -> Target:
    return Target("labels", labels=rng.random((ROWS, 4)) < 0.5, num_outputs=4)


def links(rng) -> Target:
    """Half of a ring's edges, and as many pairs that are none."""
    pairs = np.stack([RING, (RING + np.where(RING % 2, 3, 1)) % ROWS], 1)
    order = rng.permutation(ROWS)
    return Target("links", labels=(RING % 2 == 0)[order], pairs=pairs[order], level="link")


def several(rng) -> Target:
    return Target("several", size=values(rng), colour=classes(rng))


TARGETS: dict[str, Callable[[np.random.Generator], Target]] = dict(
    classes=classes, values=values, survival=survival, labels=labels, links=links, several=several
)


def dataset(kind: str, seed: int = 0, **changes) -> Dataset:
    """A ring of nodes with two modalities and such a target."""
    rng = np.random.default_rng(seed)
    held = dict(
        name="toy",
        features={"a": rng.normal(size=(ROWS, 3)), "b": rng.normal(size=(ROWS, 2))},
        mask=np.ones((ROWS, 2), bool),
        graphs={"ring": edge_set(np.r_[RING, (RING + 1) % ROWS], np.r_[(RING + 1) % ROWS, RING], ROWS)},
        target=TARGETS[kind](rng),
        splits=splits.fractions(np.zeros(ROWS), 0.5, 0.25, stratify=False),
        provenance=Provenance("here", "none"),
        default_graph="ring",
    )
    return Dataset(**{**held, **changes})


def target(kind: str, seed: int = 0) -> Target:
    """As a data set holds it."""
    return dataset(kind, seed).target


def prediction(held: Target, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(held), held.num_outputs)).astype(np.float32)
