"""Completely at random, but in whole neighbourhoods: nobody near a node that lost a modality can stand in for it."""

from __future__ import annotations

import numpy as np

from fusion_jax.data.missing.base import Nodes


def neighbourhood(nodes: Nodes, rng: np.random.Generator, *, rate: float = 0.3) -> np.ndarray:
    """For each modality nodes are drawn uniformly, one after another; a node and all that it has an edge with, in
    either direction, lose the modality, until the share `rate` of those that have it, rounded to a node, is reached.

    Raises:
        ValueError: there is no graph.
    """
    if nodes.senders is None:
        raise ValueError(f"missing 'neighbourhood': data set {nodes.name!r} has no graph")
    n, m = nodes.mask.shape
    ends = np.concatenate([nodes.senders, np.arange(n), nodes.receivers])
    others = np.concatenate([nodes.receivers, np.arange(n), nodes.senders])
    order = np.argsort(ends, kind="stable")  # a node's own place among its neighbours says nothing
    first = np.searchsorted(ends[order], np.arange(n + 1))
    gone = np.zeros((n, m), bool)
    for column in range(m):
        centres = rng.permutation(n)
        reached = np.concatenate([others[order[first[c] : first[c + 1]]] for c in centres])
        _, earliest = np.unique(reached, return_index=True)  # every node is its own neighbour, so that all are there
        sequence = reached[np.sort(earliest)]
        having = sequence[nodes.mask[sequence, column]]
        gone[having[: round(rate * len(having))], column] = True
    return gone
