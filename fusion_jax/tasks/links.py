"""Link prediction: a row is a pair of nodes, of which a prediction holds the logit that they are joined, [R, 1].

`fusion_jax.data.links.as_links` makes such a target of an edge set. Pairs that are no training rows are never joined in
the graph that a model sees (`training.links`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special

from fusion_jax.arrays import flags, numbers, one_column, refuse
from fusion_jax.tasks.base import Field, Task


def to_labels(value: Any, where: str) -> np.ndarray:
    """bool [R]; 0 and 1 too."""
    array = one_column(flags(value, where, "bool [R], true where the pair is joined"))
    if array.ndim != 1:
        refuse(where, f"shape {array.shape}", "one label a pair, bool [R]")
    return array


def to_pairs(value: Any, where: str) -> np.ndarray:
    """int32 [R, 2]."""
    array = numbers(value, where, "node numbers [R, 2]")
    if array.dtype.kind not in "iu" or array.ndim != 2 or array.shape[1] != 2:
        refuse(where, f"{array.dtype} {array.shape}", "node numbers (integers) [R, 2]")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < 2**31:
        refuse(where, f"nodes from {array.min()} to {array.max()}", "node numbers in [0, N)")
    return array.astype(np.int32, copy=False)


class Links(Task):
    """`labels` bool [R], `pairs` int [R, 2]: two nodes in either order, every pair once. Training has both kinds."""

    fields = {"labels": Field(to_labels, hidden=False), "pairs": Field(to_pairs, hidden=None)}
    readouts = {"link": "hadamard"}
    loss = "binary_cross_entropy"
    primary = "auc"

    def validate(self, target, data, fail):
        pairs, labels, n = target.pairs, target.labels, data.num_nodes
        if target.num_outputs != 1:
            fail("target.num_outputs", str(target.num_outputs), "1, the logit of a link")
        if data.class_names:
            fail("class_names", f"{len(data.class_names)} names", "none: a link has no classes")
        if len(pairs) != len(labels):
            fail("target.pairs", f"{len(pairs)} pairs", f"{len(labels)}, one a label")
        for bad, what in (((pairs >= n).any(1), f"nodes in [0, {n})"), (pairs[:, 0] == pairs[:, 1], "two nodes")):
            if bad.any():
                row = int(np.argmax(bad))
                fail("target.pairs", f"row {row} holds {pairs[row].tolist()}", what)
        codes = _codes(pairs, n)
        _, first, back = np.unique(codes, return_index=True, return_inverse=True)
        if (again := np.flatnonzero(first[back] != np.arange(len(codes)))).size:
            fail("target.pairs", f"row {again[0]} is row {first[back][again[0]]} again", "every pair once")
        edges = data.graphs[data.default_graph]
        joined = np.isin(codes, _codes(np.stack([edges.senders, edges.receivers], 1), n))
        if (wrong := np.flatnonzero(joined & ~labels)).size:
            found = f"row {wrong[0]}, {pairs[wrong[0]].tolist()}, is no link"
            fail("target.labels", found, f"a link: edge set {data.default_graph!r} joins the two")

    def told(self, prediction):
        """The probability that the pair is joined."""
        return scipy.special.expit(np.asarray(prediction, np.float64))

    def check_split(self, target, parts, where):
        for part, rows in parts.items():
            for kind, what in ((True, "link"), (False, "pair without a link")):
                if not (target.labels[rows] == kind).any():
                    raise ValueError(f"{where}: the {part} part has no {what}; expected at least one")

    def links(self, target, train):
        return target.pairs, np.delete(target.pairs, train, axis=0)


def _codes(pairs: np.ndarray, nodes: int) -> np.ndarray:
    """int64 [R], one number a pair of nodes whatever their order."""
    pairs = np.asarray(pairs, np.int64)
    return pairs.min(1) * nodes + pairs.max(1)
