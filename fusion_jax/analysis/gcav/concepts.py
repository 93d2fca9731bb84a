"""Concepts as rules: sets of nodes that share something the model was not told.

missing:<modality>   the node lacks the modality
degree               the number of edges it receives is in the top decile
label:<class>        its label, a class name or number
"""

from __future__ import annotations

import numpy as np

from fusion_jax.results.restore import Restored
from fusion_jax.zoo import nearest

RULES = ("missing", "degree", "label")
LEAST = 10  # nodes with, and without, the concept: fewer fit no classifier


def concept(cell: Restored, rule: str, place: int = 0) -> np.ndarray:
    """bool [N], the nodes that fit the rule; edges are those on which the seed at that place predicts.

    Raises:
        ValueError: no such rule, modality or class; or fewer than ten nodes with or without the concept.
    """
    name, _, value = rule.partition(":")
    if name == "missing":
        names = list(cell.prepared.batch.features)
        found = ~np.asarray(cell.prepared.batch.mask)[:, _place(f"concept {rule!r}", value, names)]
    elif name == "degree":
        found = _top_decile(cell, place)
    elif name == "label":
        found = known_labels(cell) == label(cell, value)
    else:
        raise ValueError(
            f"no concept rule {rule!r}{nearest(name, RULES)}; there are: missing:<modality>, degree, label:<class>"
        )
    for count, word in ((found.sum(), "have"), ((~found).sum(), "lack")):
        if count < LEAST:
            raise ValueError(f"concept {rule!r}: {count} of {len(found)} nodes {word} it, at least {LEAST} are needed")
    return found


def known_labels(cell: Restored) -> np.ndarray:
    """int [N], the class of every node, -1 where it is not known."""
    labels, labelled = np.asarray(cell.data.target.labels), cell.data.labelled
    return labels if labelled is None else np.where(labelled, labels, -1)


def label(cell: Restored, value: str, where: str = "") -> int:
    """The number of a class given by name or number.

    Args:
        where: what named it, for the error; the concept if "".
    Raises:
        ValueError: no such class.
    """
    names = list(cell.data.class_names)
    if value in names:
        return names.index(value)
    classes = [str(c) for c in range(cell.data.target.num_outputs)]
    return _place(where or f"concept 'label:{value}'", value, names, classes)


def _place(where: str, value: str, names: list[str], numbers: list[str] | None = None) -> int:
    for known in (names, numbers or []):
        if value in known:
            return known.index(value)
    known = names or numbers
    raise ValueError(f"{where}: no {value!r}{nearest(value, known)}; there are: {', '.join(known)}")


def _top_decile(cell: Restored, place: int) -> np.ndarray:
    graph = cell.prepared.evaluated[place]
    if graph is None:
        raise ValueError("concept 'degree': the cell has no graph")
    degree = np.diff(np.asarray(graph.row_ptr))
    return degree >= max(np.quantile(degree, 0.9), 1)
