"""The card of a data set, before anything is trained: where the information lies, and which fusions can reach it.

    from fusion_jax.data.card import card
    print(card(data).text())

What every two modalities (of more than two also one and all others) say of the target, at a node's own features and at
the means of its neighbours', parted into amounts in bits (`card.amounts`), by Gaussian bounds and by clusters.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator

import numpy as np

from fusion_jax.data.base import Dataset
from fusion_jax.data.card import words
from fusion_jax.data.card.amounts import discretely, gaussian
from fusion_jax.data.card.discrete import clusters
from fusion_jax.data.card.sources import GRAPH, NEAR, OTHERS, OWN, Sources, sources

__all__ = ["GRAPH", "NEAR", "OTHERS", "OWN", "Card", "card"]

MEASURES = ("gaussian", "clusters")


@dataclasses.dataclass(frozen=True)
class Card:
    """What was found, as records and in words.

    Attributes:
        name: of the data set.
        seed: whose split's training rows were looked at.
        rows: how many.
        entropy: bits of the target there; of values, of which quarter they are in.
        lines: one an amount: where (OWN, NEAR, or GRAPH, which compares both), a, b, measure ("gaussian" or
            "clusters"), amount, bits, null, corrected and p.
        sentence: the answer.
        note: how the numbers came about, and what they do not say.
    """

    name: str
    seed: int
    rows: int
    entropy: float
    lines: tuple[dict, ...]
    sentence: str
    note: str

    def text(self) -> str:
        """The sentence, a table and the note, for a terminal."""
        return f"{self.sentence}\n\n{words.table(self.lines)}\n\n{self.note}"

    def json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)


def card(data: Dataset, seed: int = 0, *, permutations: int | None = None) -> Card:
    """What the training rows of a seed's split tell; nothing is trained, and no other row's target is looked at.

    Args:
        permutations: a null; 99, or 20 a modality where that is more, if None.
    Raises:
        ValueError: a target other than classes or one value of nodes, one modality, or fewer than 19 permutations.
    """
    if permutations is not None and permutations < 19:
        raise ValueError(f"card: permutations={permutations}, expected at least 19: fewer have no p of .05")
    found = sources(data, seed)
    count = permutations or max(99, 20 * len(found.own))
    lines = []
    for where, a, b, x, z in _compared(found):
        symbols = (clusters(features, found.classes) for features in (x, z))
        told = gaussian(x, z, found.labels, found.classes, count), discretely(*symbols, found.labels, count)
        for measure, amounts in zip(MEASURES, told, strict=True):
            lines += [dict(where=where, a=a, b=b, measure=measure, **one) for one in amounts]
    share = np.bincount(found.labels) / len(found.labels)
    entropy = float(-(share * np.log2(share)).sum())
    note = words.note(data, found, count)
    return Card(data.name, seed, len(found.rows), entropy, tuple(lines), words.sentence(lines, entropy), note)


def _compared(found: Sources) -> Iterator[tuple[str, str, str, np.ndarray, np.ndarray]]:
    """Where, the names of two sources, and their features."""
    for where, parts in ((OWN, found.own), (NEAR, found.near)):
        for a, b in itertools.combinations(parts, 2):
            yield where, a, b, parts[a], parts[b]
        for a in parts if len(parts) > 2 else ():
            others = np.concatenate([x for name, x in parts.items() if name != a], 1)
            yield where, a, OTHERS, parts[a], others
    if found.near:
        own, near = (np.concatenate(list(parts.values()), 1) for parts in (found.own, found.near))
        yield GRAPH, OWN, NEAR, own, near
