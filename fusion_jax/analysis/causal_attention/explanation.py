"""Sets of tokens that may explain a prediction, the smallest first.

Reference and golden: see `causal_attention`; CLEANN.explain of the authors' `cleann_explainer.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from fusion_jax.analysis.causal_attention.pag import PAG, separation_tree

Set = tuple[int, ...]


def explanations(
    graph: PAG, target: int, accepts: Callable[[Set], bool], *, largest: int | None = None, depth: int | None = None
) -> list[Set]:
    """The smallest sets around a target token that are accepted, the nearest first; all are of one size.

    Args:
        accepts: whether masking the set changes what is predicted for the target.
        largest: size of a set, and depth: distance from the target, at most; any if None.
    """
    tree, members = separation_tree(graph, target, depth)
    for size in range(1, (len(members) if largest is None else largest) + 1):
        nearest = sorted(tree.subsets(members, size), key=lambda pair: pair[1])
        found = [s for s, _ in nearest if accepts(s)]
        if found:
            return found
    return []


def proposals(graph: PAG, size: int) -> list[Set]:
    """Sets of that size where no token is the target (ours): a token and a set around it, from every token."""
    found: dict[Set, int] = {}
    for root in graph.nodes:
        tree, members = separation_tree(graph, root)
        around = tree.subsets(members, size - 1) if size > 1 else [((), 0)]
        for s, distance in around:
            whole = tuple(sorted({root, *s}))
            found[whole] = min(distance, found.get(whole, distance))
    return sorted(found, key=lambda s: (found[s], s))
