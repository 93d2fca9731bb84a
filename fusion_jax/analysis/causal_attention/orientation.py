"""Marks that follow from those there are: colliders (R0) and the rules R1 to R10 of Zhang, 2008.

Reference and golden: see `causal_attention`; the authors' `partial_ancestral_graph.py`, whose order of the rules and of
what they look at is kept (variables from the smallest on), but for R10. Every rule changes the graph and says whether
it did.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from fusion_jax.analysis.causal_attention.pag import ARROW, CIRCLE, PAG, TAIL


def colliders(g: PAG) -> None:
    """R0: x *-* z *-* y becomes x *-> z <-* y where x, y are not joined and z was not what separated them."""
    for z in g.nodes:
        for x, y in itertools.combinations(g.neighbours(z), 2):
            if not g.joined(x, y) and z not in g.separator(x, y):
                g.mark(x, z, ARROW)
                g.mark(y, z, ARROW)


def away_from_collider(g: PAG) -> bool:
    """R1: a *-> b o-* c, a and c not joined: b --> c."""
    changed = False
    for b in g.nodes:
        for a, c in itertools.product(g.marked(b, ARROW), g.marked(b, CIRCLE)):
            if not g.joined(a, c):
                g.mark(c, b, TAIL)
                g.mark(b, c, ARROW)
                changed = True
    return changed


def away_from_cycle(g: PAG) -> bool:
    """R2: a *-> b --> c or a --> b *-> c, and a *-o c: a *-> c."""
    changed = False
    for b in g.nodes:
        for c in [c for c in g.nodes if g.parent(b, c)]:
            for a in g.marked(b, ARROW):
                if g.marks[a][c] == CIRCLE:
                    g.mark(a, c, ARROW)
                    changed = True
    for c in g.nodes:
        for b in g.marked(c, ARROW):
            for a in [a for a in g.nodes if g.parent(a, b)]:
                if g.marks[a][c] == CIRCLE:
                    g.mark(a, c, ARROW)
                    changed = True
    return changed


def double_triangle(g: PAG) -> bool:
    """R3: a *-> b <-* c, a *-o d o-* c, a and c not joined, d *-o b: d *-> b."""
    changed = False
    for b in g.nodes:
        for d in g.marked(b, CIRCLE):
            both = sorted(set(g.marked(b, ARROW)) & set(g.marked(d, CIRCLE)))
            if any(not g.joined(a, c) for a, c in itertools.combinations(both, 2)):
                g.mark(d, b, ARROW)
                changed = True
    return changed


def discriminating_path(g: PAG) -> bool:
    """R4: d ... a b c discriminates b o-* c: b --> c if b is in what separated d and c, else a <-> b <-> c."""
    changed = False
    for b in g.nodes:
        for c in g.marked(b, CIRCLE):
            for a in [a for a in g.nodes if g.parent(a, c)]:
                if g.marks[b][a] != ARROW or (d := g.discriminated(a, b, c)) is None:
                    continue
                if b in g.separator(d, c):
                    g.mark(b, c, ARROW)
                    g.mark(c, b, TAIL)
                else:
                    g.mark_both(a, b, ARROW)
                    g.mark_both(b, c, ARROW)
                changed = True
    return changed


def circle_path(g: PAG) -> bool:
    """R5: a o-o b and an uncovered path of circles from a to b: tails all along."""
    changed = False

    def circles(a, b):
        return g.edge(a, b, CIRCLE, CIRCLE)

    def starts(a, b):
        return [x for x in g.nodes if x not in (a, b) and circles(a, x) and not g.joined(b, x)]

    for a, b in [e for e in itertools.permutations(g.nodes, 2) if circles(*e)]:
        for first, last in itertools.product(starts(a, b), starts(b, a)):
            path = g.uncovered_path(a, b, first, last, circles, frozenset(g.nodes))
            if path is not None:
                changed = True
                g.mark_both(a, b, TAIL)
                for pair in itertools.pairwise([a, *path, b]):
                    g.mark_both(*pair, TAIL)
    return changed


def behind_undirected(g: PAG) -> bool:
    """R6: a --- b o-* c: b --* c."""
    changed = False
    for b in g.nodes:
        if any(g.edge(a, b, TAIL, TAIL) for a in g.nodes):
            for c in g.marked(b, CIRCLE):
                g.mark(c, b, TAIL)
                changed = True
    return changed


def behind_tail(g: PAG) -> bool:
    """R7: a --o b o-* c, a and c not joined: b --* c."""
    changed = False
    for b in g.nodes:
        before = [a for a in g.nodes if g.edge(a, b, TAIL, CIRCLE)]
        for a, c in itertools.product(before, g.marked(b, CIRCLE)):
            if a != c and not g.joined(a, c):
                g.mark(c, b, TAIL)
                changed = True
    return changed


def transitive_tail(g: PAG) -> bool:
    """R8: a --> b --> c or a --o b --> c, and a o-> c: a --> c."""
    changed = False
    for b in g.nodes:
        before = [a for a in g.nodes if g.parent(a, b) or g.edge(a, b, TAIL, CIRCLE)]
        for a, c in itertools.product(before, [c for c in g.nodes if g.parent(b, c)]):
            if g.edge(a, c, CIRCLE, ARROW):
                g.mark(c, a, TAIL)
                changed = True
    return changed


def uncovered_way(g: PAG) -> bool:
    """R9: a o-> c and an uncovered path a, b, ..., c, possibly directed; b, c not joined: a --> c. An edge a call."""
    for a, c in itertools.permutations(g.nodes, 2):
        if not g.edge(a, c, CIRCLE, ARROW):
            continue
        for b in [b for b in g.nodes if b not in (a, c) and g.may_be_parent(a, b) and not g.joined(b, c)]:
            for d in [d for d in g.nodes if d not in (a, b, c) and g.may_be_parent(d, c)]:
                if g.uncovered_path(a, c, b, d, g.may_be_parent, frozenset(g.nodes)) is not None:
                    g.mark(c, a, TAIL)
                    return True
    return False


def two_ways(g: PAG) -> bool:
    """R10: a o-> c, b --> c <-- d, uncovered possibly directed paths a, e, ..., b and a, f, ..., d, with e and f not
    joined: a --> c. One edge a call.

    A path may be one edge, e = b. The authors' code asks for edges of any kind on the paths, and that they stay
    uncovered with c behind them: it makes causes of variables that are none (ours: the rule as it is proved).
    """
    for c in g.nodes:
        into = [b for b in g.nodes if g.parent(b, c)]
        for a in [a for a in g.nodes if g.edge(a, c, CIRCLE, ARROW)]:
            steps = {b: g.uncovered_steps(a, b, g.may_be_parent) for b in into}
            for b, d in itertools.combinations(into, 2):
                if any(e != f and not g.joined(e, f) for e, f in itertools.product(steps[b], steps[d])):
                    g.mark(c, a, TAIL)
                    return True
    return False


FIRST = (away_from_collider, away_from_cycle, double_triangle, discriminating_path)
SELECTION = (circle_path, behind_undirected, behind_tail)  # where selection may have biased what is seen
TAILS = (transitive_tail, uncovered_way, two_ways)


def orient(g: PAG, rules: tuple[Callable[[PAG], bool], ...]) -> None:
    """All rules in turn until none changes anything."""
    while any([rule(g) for rule in rules]):
        pass
