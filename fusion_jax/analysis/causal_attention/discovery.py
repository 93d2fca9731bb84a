"""Iterative causal discovery (ICD): from tests of independence to a partial ancestral graph.

Reference: Rohekar et al., "Iterative Causal Discovery in the Possible Presence of Latent Confounders and Selection
Bias", NeurIPS 2021; the authors' `icd.py`. Golden: see `causal_attention`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np

from fusion_jax.analysis.causal_attention.independence import p_value
from fusion_jax.analysis.causal_attention.orientation import FIRST, SELECTION, TAILS, colliders, orient
from fusion_jax.analysis.causal_attention.pag import PAG, separation_tree

Independent = Callable[[int, int, tuple[int, ...]], bool]


def discover(r: np.ndarray, *, samples: int, alpha: float) -> PAG:
    """The graph of variables with the correlations r [n, n]; they are independent where p > alpha.

    Raises:
        ValueError: too few samples.
        numpy.linalg.LinAlgError: a test meets variables that are copies of each other.
    """

    @functools.cache
    def independent(i: int, j: int, given: tuple[int, ...]) -> bool:
        return p_value(r, i, j, given, samples=samples) > alpha

    return search(len(r), independent)


def search(n: int, independent: Independent) -> PAG:
    """ICD with any test; conditioning sets grow from none on until no pair that is left has one of the size.

    A pair is cut at once, so that later tests of the round see it. Sets of one are neighbours of either; larger ones
    stand in the separation tree of either, no deeper than their size, and all in them may be ancestors of the pair.
    Ties are met from the smallest variable on. The authors' code walks Python sets, which is the same order up to eight
    variables; beyond, two sets that both separate a pair may be met in another one.
    """
    graph = PAG(n)
    for i, j in itertools.combinations(graph.nodes, 2):
        if independent(i, j, ()):
            graph.cut(i, j, ())
    colliders(graph)
    orient(graph, FIRST)
    done, size = False, 0
    while not done:
        size += 1
        done = not _round(graph, independent, size)
        if size == 1 or not done:  # after the first round the graph is oriented anew even if nothing was tested
            graph.forget()
            colliders(graph)
            orient(graph, FIRST)
        if size == 1 or done:
            orient(graph, SELECTION)
            orient(graph, TAILS)
    return graph


def _round(graph: PAG, independent: Independent, size: int) -> bool:
    """Cuts what sets of that size separate; whether there was any set to test."""
    tested = False
    for i, j in itertools.combinations(graph.nodes, 2):
        if not graph.joined(i, j):
            continue
        for given in _neighbours(graph, i, j) if size == 1 else _sets(graph, i, j, size):
            tested = True
            if independent(i, j, given):
                graph.cut(i, j, given)
                break
    return tested


def _neighbours(graph: PAG, i: int, j: int) -> list[tuple[int, ...]]:
    found = dict.fromkeys(graph.neighbours(i) + graph.neighbours(j))
    return [(z,) for z in found if z not in (i, j)]


def _sets(graph: PAG, i: int, j: int, size: int) -> list[tuple[int, ...]]:
    """Conditioning sets, the nearest first; ties as they are found, those around i first."""
    found = []
    for root in (i, j):
        tree, members = separation_tree(graph, root, size)
        found += tree.subsets(members, size)
    kept = [
        (given, distance)
        for given, distance in found
        if not {i, j} & set(given) and all(graph.may_be_ancestor(z, i) or graph.may_be_ancestor(z, j) for z in given)
    ]
    return [given for given, _ in sorted(kept, key=lambda pair: pair[1])]
