"""A partial ancestral graph: which variables are joined, and a mark at each end of every edge.

Reference and golden: see `causal_attention`; the authors' `partial_ancestral_graph.py` and `possible_dsep_tree.py`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np

CIRCLE, ARROW, TAIL = 1, 2, 3
MARKS = ("none", "circle", "arrow", "tail")


class PAG:
    """n variables, at first all joined by o-o. An arrow at b says that b causes nothing of a, a tail that it does.

    Attributes:
        marks: marks[a][b] is the mark AT b of the edge a-b: 0 no edge, 1 circle, 2 arrow, 3 tail.
        separating: {(a, b), a < b: the set that made them independent}, of the pairs that were cut.
    """

    def __init__(self, n: int):
        self.nodes = range(n)
        self.marks = [[CIRCLE * (a != b) for b in range(n)] for a in range(n)]
        self.separating: dict[tuple[int, int], frozenset[int]] = {}

    def array(self) -> np.ndarray:
        """int [n, n], the marks."""
        return np.array(self.marks, int).reshape(len(self.nodes), len(self.nodes))

    def joined(self, a: int, b: int) -> bool:
        return self.marks[a][b] > 0

    def neighbours(self, a: int) -> list[int]:
        return [b for b in self.nodes if self.marks[a][b]]

    def marked(self, b: int, mark: int) -> list[int]:
        """Those a whose edge a-b has the mark at b."""
        return [a for a in self.nodes if self.marks[a][b] == mark]

    def edge(self, a: int, b: int, at_a: int, at_b: int) -> bool:
        return self.marks[b][a] == at_a and self.marks[a][b] == at_b

    def parent(self, a: int, b: int) -> bool:
        """a --> b"""
        return self.edge(a, b, TAIL, ARROW)

    def may_be_parent(self, a: int, b: int) -> bool:
        """There is an edge, without an arrow at a and without a tail at b."""
        return self.joined(a, b) and self.marks[b][a] != ARROW and self.marks[a][b] != TAIL

    def may_be_ancestor(self, a: int, b: int) -> bool:
        """A path a ... b on which each may be the parent of the next."""
        seen, todo = {a}, [a]
        while todo:
            here = todo.pop()
            found = [c for c in self.nodes if c not in seen and self.may_be_parent(here, c)]
            if b in found:
                return True
            seen.update(found)
            todo += found
        return False

    def may_collide(self, a: int, b: int, c: int) -> bool:
        """a-b-c is a path whose ends are joined, or whose middle is a collider."""
        if a == c or not (self.joined(a, b) and self.joined(b, c)):
            return False
        return self.joined(a, c) or (self.marks[a][b] == ARROW and self.marks[c][b] == ARROW)

    def separator(self, a: int, b: int) -> frozenset[int]:
        """What separated two variables; empty where nothing did."""
        return self.separating.get((min(a, b), max(a, b)), frozenset())

    def cut(self, a: int, b: int, given: tuple[int, ...]) -> None:
        self.marks[a][b] = self.marks[b][a] = 0
        self.separating[min(a, b), max(a, b)] = frozenset(given)

    def mark(self, a: int, b: int, mark: int) -> None:
        """Sets the mark at b."""
        self.marks[a][b] = mark

    def mark_both(self, a: int, b: int, mark: int) -> None:
        """The same mark at both ends, if there is an edge."""
        if self.joined(a, b):
            self.marks[a][b] = self.marks[b][a] = mark

    def forget(self) -> None:
        """Circles everywhere."""
        for a, b in itertools.combinations(self.nodes, 2):
            self.mark_both(a, b, CIRCLE)

    def uncovered_path(
        self, x: int, y: int, first: int, last: int, condition: Callable[[int, int], bool], free: frozenset[int]
    ) -> list[int] | None:
        """The inside of a path x, first, ..., last, y of which no three in a row have their ends joined; or None.

        Edges between `first` and `last` keep the condition; between them stand nodes of `free`.
        """
        if first == last:
            return [first]
        free = free - {x, y, first, last}
        if condition(first, last) and not self.joined(first, y) and not self.joined(x, last):
            return [first, last]
        for c in sorted(free):
            if self.joined(first, c) and condition(first, c) and not self.joined(x, c):
                rest = self.uncovered_path(first, y, c, last, condition, free)
                if rest is not None:
                    return [first, *rest]
        return None

    def uncovered_steps(self, a: int, b: int, condition: Callable[[int, int], bool]) -> list[int]:
        """The second nodes of paths from a to b whose edges keep the condition, no three in a row with ends joined."""

        def arrives(path: tuple[int, ...]) -> bool:
            before, here = path[-2:]
            return here == b or any(
                arrives((*path, c))
                for c in self.neighbours(here)
                if c not in path and condition(here, c) and not self.joined(before, c)
            )

        return [e for e in self.neighbours(a) if condition(a, e) and arrives((a, e))]

    def discriminated(self, a: int, b: int, c: int) -> int | None:
        """d at the start of a discriminating path d *-> ... <-> a <-* b *-* c for b; all between are parents of c."""
        ends, seen, frontier = {a, b, c}, {a, b, c}, [a]
        while frontier:
            following = set()
            for here in frontier:
                for d in self.marked(here, ARROW):
                    if d in ends:
                        continue
                    if not self.joined(d, c):
                        return d
                    if d not in seen and self.parent(d, c) and self.marks[here][d] == ARROW:
                        following.add(d)
            seen |= following
            frontier = sorted(following)
        return None


@dataclasses.dataclass
class Tree:
    """A tree of possibly d-separating variables, its root at depth 0."""

    node: int
    depth: int = 0
    children: list[Tree] = dataclasses.field(default_factory=list)

    def walk(self) -> Iterator[Tree]:
        yield self
        for child in self.children:
            yield from child.walk()

    def reaches(self, node: int, through: tuple[int, ...]) -> bool:
        """A way down to the node whose other nodes are all of `through`."""
        for child in self.children:
            if child.node == node or (child.node in through and child.reaches(node, through)):
                return True
        return False

    def subsets(self, members: list[int], size: int) -> list[tuple[tuple[int, ...], int]]:
        """(subset, sum of its distances from the root) of that size, each node of it reached through the others."""
        least: dict[int, float] = dict.fromkeys(members, math.inf)
        for branch in self.walk():
            if branch.node in least:
                least[branch.node] = min(least[branch.node], branch.depth)
        found = itertools.combinations(members, size)
        return [(s, sum(least[m] for m in s)) for s in found if all(self.reaches(m, s) for m in s)]


def separation_tree(graph: PAG, root: int, depth: int | None = None) -> tuple[Tree, list[int]]:
    """The possible-d-separation tree of a variable, and its members in order.

    Neighbours first; behind x - y comes z where y may collide on x - y - z. Every edge is walked once.

    Args:
        depth: of the tree, at most; n - 1 if None.
    """
    depth = len(graph.nodes) - 1 if depth is None else depth
    left = {frozenset(e) for e in itertools.combinations(graph.nodes, 2) if graph.joined(*e)}
    tree = Tree(root)
    members = graph.neighbours(root)
    tree.children = [Tree(b, 1) for b in members]
    left -= {frozenset((root, b)) for b in members}
    todo = [(root, branch) for branch in tree.children]
    while todo:
        before, branch = todo.pop(0)
        if branch.depth >= depth:
            continue
        for after in [c for c in graph.nodes if frozenset((branch.node, c)) in left]:
            if graph.may_collide(before, branch.node, after):
                left.discard(frozenset((branch.node, after)))
                branch.children.append(Tree(after, branch.depth + 1))
                todo.append((branch.node, branch.children[-1]))
                members.append(after)
    return tree, sorted(set(members) - {root})
