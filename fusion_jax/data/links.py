"""Link prediction of any data set: its edges are the links, pairs of nodes without an edge are drawn beside them."""

from __future__ import annotations

import dataclasses

import numpy as np

from fusion_jax.data import splits
from fusion_jax.data.base import Dataset
from fusion_jax.records import Target


def as_links(
    data: Dataset, edge_set: str = "", *, negatives: float = 1.0, train: float = 0.7, val: float = 0.1, seed: int = 0
) -> Dataset:
    """The data set with the links of one of its edge sets to be predicted instead of what it had.

    A link is an edge in either direction; loops are none. The pairs without a link are the same for all seeds; links
    and others are split by themselves, so that every part has as many of the others a link.

    Args:
        edge_set: the name of one over a single graph; "" for the default one. It becomes the default.
        negatives: pairs without a link, a link.
        train, val: shares of both kinds; the rest is test.
        seed: of the pairs without a link.
    Raises:
        ValueError: no such edge set, one of several graphs or without edges, too few pairs without an edge, shares out
            of range.
    """
    name = edge_set or data.default_graph
    data.graph(name or None)  # says so where there is none of that name
    if name not in data.graphs:
        raise ValueError(f"data set {data.name!r} has no edge set to take links from")
    edges, n = data.graphs[name], data.num_nodes
    if (graphs := len(edges.n_node)) > 1:
        raise ValueError(f"data set {data.name!r}, edge set {name!r}: links are of one graph, not of {graphs}")
    ends = np.stack([edges.senders, edges.receivers], 1)
    links = np.unique(np.sort(ends[ends[:, 0] != ends[:, 1]], axis=1), axis=0)
    count, free = round(negatives * len(links)), n * (n - 1) // 2 - len(links)
    if not len(links) or not 1 <= count <= free:
        raise ValueError(
            f"data set {data.name!r}, edge set {name!r}: {len(links)} links and negatives={negatives}; expected at "
            f"least one pair without a link and at most {free}, as there are"
        )
    pairs = np.concatenate([links, _unlinked(links, n, count, np.random.default_rng(seed))])
    labels = np.arange(len(pairs)) < len(links)
    return dataclasses.replace(
        data,
        target=Target("links", labels=labels, pairs=pairs, level="link"),
        splits=splits.fractions(labels, train, val),
        class_names=(),
        default_graph=name,
        setting="transductive",
    )


def _unlinked(links: np.ndarray, nodes: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` different pairs [count, 2] of different nodes that are none of the links, drawn uniformly."""
    taken = links[:, 0] * np.int64(nodes) + links[:, 1]
    found = np.zeros(0, np.int64)
    while len(found) < count:
        drawn = np.sort(rng.integers(nodes, size=(2 * (count - len(found)) + 16, 2)), axis=1)
        codes = (drawn[:, 0] * np.int64(nodes) + drawn[:, 1])[drawn[:, 0] < drawn[:, 1]]
        codes = codes[~np.isin(codes, taken) & ~np.isin(codes, found)]
        _, first = np.unique(codes, return_index=True)
        found = np.concatenate([found, codes[np.sort(first)]])
    return np.stack(np.divmod(found[:count], nodes), 1)
