"""How likely a random walk from a node is back there after 1, 2, ... steps: the look of its neighbourhood."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from fusion_jax.arrays import refuse
from fusion_jax.graphs import Array
from fusion_jax.structures.base import Edges, Maker

BLOCK = 2**22  # numbers that are held at a time


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Landing:
    """The probabilities of being back.

    Attributes:
        landing: float [N, K], after 1 to K steps; 0 at nodes without edges and at rows that are not present.
    """

    landing: Array

    def permuted(self, order: Array) -> Landing:
        return Landing(self.landing[order])

    def report(self) -> dict[str, float]:
        found = np.asarray(self.landing)
        return dict(largest=float(found.max(initial=0)), nodes=int((found > 0).any(1).sum()))


class RandomWalk(Maker):
    """The diagonal of P, P^2, ..., P^K with P = D^-1 A.

    Args:
        steps: K.
        weighted: A has the weights of the edges.
    Raises:
        ValueError: steps that are no integer >= 1.
    """

    def __init__(self, *, steps: int = 20, weighted: bool = False):
        if type(steps) is not int or steps < 1:
            refuse("structure 'random_walk'", f"steps={steps!r}", "an integer >= 1")
        self.steps, self.weighted = steps, weighted

    def make(self, edge_sets, used=(), earlier=None) -> list[Landing]:
        return [Landing(jnp.asarray(self.one(edges))) for edges in edge_sets]

    def one(self, edges: Edges) -> np.ndarray:
        """float64 [N, K]; P has the diagonals of the symmetric S = D^-1/2 A D^-1/2, and that of S^(a+b) is the sum
        over rows of S^a and S^b, entry by entry: half of the powers do, a block of columns at a time."""
        adjacency, n = edges.adjacency(self.weighted), edges.num_nodes
        total = np.asarray(adjacency.sum(1)).ravel()
        scale = sp.diags_array(np.where(total > 0, total, 1) ** -0.5)
        walk, found = sp.csr_array(scale @ adjacency @ scale), np.zeros((n, self.steps))
        for columns in np.split(np.arange(n), range(max(BLOCK // max(n, 1), 1), n, max(BLOCK // max(n, 1), 1))):
            before = np.zeros((n, len(columns)))
            before[columns, np.arange(len(columns))] = 1
            for k in range(0, self.steps, 2):
                after = walk @ before
                found[columns, k] = (before * after).sum(0)
                if k + 1 < self.steps:
                    found[columns, k + 1] = (after * after).sum(0)
                before = after
        return found
