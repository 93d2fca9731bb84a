"""What can be said of the rows of one data set, protocol and setting: a clause a fact.

A difference counts as shown at the 5 % level after correction: against the baseline Holm's over all rows of the data
set (`compare.against`); what else is compared here, rows with and without the graph and places of the best fusion, are
a family of their own on every data set (`Question.beside`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from fusion_jax import metrics
from fusion_jax.results import compare, tables
from fusion_jax.results.compare import Comparison
from fusion_jax.results.rendering.table import Table, mean, name
from fusion_jax.results.row import KNOWN, NO_GRAPH, PUBLISHED, Row

SIMPLE = ("structure", "no graph", "modality", "control")  # roles of rows without fusion of modalities on the graph


@dataclasses.dataclass(frozen=True)
class Clause:
    """A part of the sentence and what joins it to the part before; where not all fit, the lowest weight goes first."""

    text: str
    weight: float
    joint: str = ", "


@dataclasses.dataclass(frozen=True)
class Question:
    """The rows of one data set, task, protocol and setting, which can be compared.

    Attributes:
        where: in words ("on digits"), "" of the only one.
        table: with all of the data set's rows; own: indices of these.
        beside: comparisons that the table does not have: `of_graph` and `of_places`, corrected over all of the data
            set (`with_beside`).
    """

    where: str
    table: Table
    own: tuple[int, ...]
    beside: tuple[Comparison, ...] = ()

    @property
    def metric(self) -> str:
        return self.table.lead

    @property
    def data(self) -> str:
        return self.table.rows[0].data

    def rows(self, *roles: str) -> list[Row]:
        """Those with these roles and a value of the metric, the best first."""
        sign = metrics.sign(self.metric)
        found = [self.table.rows[i] for i in self.own if self.table.rows[i].role in roles]
        found = [row for row in found if np.isfinite(mean(row, self.metric))]
        return sorted(found, key=lambda row: -sign * mean(row, self.metric))

    @property
    def fusing(self) -> tuple[str, ...]:
        """The roles of the rows that are the fusions: without the graph only where the baseline has none either."""
        bases = [c.b for i, c in self.table.compared[self.metric].items() if i in self.own]
        return ("fusion", "no graph") if bases and all(base.role == "no graph" for base in bases) else ("fusion",)

    def fusions(self) -> list[Row]:
        """Those with a value of the metric, the best first."""
        return self.rows(*self.fusing)

    def simple(self) -> list[Row]:
        """The rows that fuse nothing, or not on the graph, likewise."""
        return self.rows(*(role for role in SIMPLE if role not in self.fusing))

    def compared(self) -> list[Comparison]:
        """Fusions against the baseline, where something is known of their difference, the best first."""
        sign, fusing = metrics.sign(self.metric), self.fusing
        found = [c for i, c in self.table.compared[self.metric].items() if i in self.own and c.a.role in fusing]
        found = [c for c in found if np.isfinite(c.p)]
        return sorted(found, key=lambda c: -sign * c.difference)

    def others(self) -> list[Comparison]:
        """Those of `compared` that are not the baseline itself at another place."""
        return [c for c in self.compared() if not _moved(c)]


def _moved(found: Comparison) -> bool:
    """Whether a is b at another place."""
    return (found.a.fusion, found.a.name) == (found.b.fusion, found.b.name)


def with_beside(asked: Sequence[Question]) -> list[Question]:
    """The questions with what is compared beside the baseline, after Holm over all of it on a data set."""
    pairs = [[*of_graph(question), *of_places(question)] for question in asked]
    corrected = iter(compare.adjusted([c for own in pairs for c in own]))
    return [
        dataclasses.replace(question, beside=tuple(next(corrected) for _ in own))
        for question, own in zip(asked, pairs, strict=True)
    ]


def of_graph(question: Question) -> Iterator[Comparison]:
    """Every row without the graph against those with it whose configs differ in the graph alone, the best first."""
    without = [row for row in question.rows("no graph") if row.without_graph]
    for row in question.rows("fusion"):
        for other in without:
            if other.without_graph == row.without_graph:
                yield from _known(compare.compared(row, other, question.metric))


def of_places(question: Question) -> Iterator[Comparison]:
    """The best fusion against itself at other places, the best first."""
    first, *rest = question.fusions() or [None]
    for row in rest:
        if (row.fusion, row.name) == (first.fusion, first.name) and row.placement != first.placement:
            yield from _known(compare.compared(first, row, question.metric))


def _known(found: Comparison) -> list[Comparison]:
    return [found] if np.isfinite(found.p) else []


def of(question: Question) -> list[Clause]:
    """All clauses, the verdict first."""
    parts = (against_simple, graph, place, scores)
    return verdict(question) + [clause for part in parts if (clause := part(question)) is not None]


def amount(metric: str, value: float, low: float | None = None, high: float | None = None) -> str:
    """A difference in words, without its sign: "1.2 points [0.4, 2.0]", "0.120 of RMSE"."""
    scale, digits = tables.scaling(metric, percent=True)
    ends = sorted(scale * v * np.sign(value or 1) for v in (low, high)) if low is not None else []
    interval = " [{:.{d}f}, {:.{d}f}]".format(*ends, d=digits) if ends and np.isfinite(ends).all() else ""
    unit = " points" if scale != 1 else f" of {metrics.heading(metric)}"
    return f"{abs(scale * value):.{digits}f}{unit}{interval}"


def _by(found: Comparison) -> str:
    return amount(found.metric, found.difference, found.low, found.high)


def gain(found: Comparison) -> float:
    """How much better a is than b."""
    return metrics.sign(found.metric) * found.difference


def verdict(question: Question) -> list[Clause]:
    """Whether a fusion beats the baseline; where none does, which is furthest ahead of it, or closest behind."""
    found, heading = question.others() or question.compared(), metrics.heading(question.metric)
    if not found:
        return [Clause(_without_comparison(question), 9)]
    base, top = baseline(found), found[0]
    better, worse = [c for c in found if c.better], [c for c in found if c.worse]
    lost = [Clause(f"{count(len(worse), 'is', 'are')} worse", 9)] if worse else []
    unit = f" of {heading}" if metrics.named(question.metric).fraction else ""
    if len(worse) == len(found) == 1:
        return [Clause(f"{name(top.a)} is worse than {base} by {_by(top)}{unit}", 9)]
    if better:
        top = better[0]
        text = f"{name(top.a)} beats {base} by {_by(top)}{unit}"
        others = [Clause(f"{len(better) - 1} more beat it too", 9)] if len(better) > 1 else []
        return [Clause(text, 9), *others, *lost]
    text = f"no difference in {heading} between {base} and {_noun(found)} survives correction"
    if worse:
        text = f"none of {_noun(found)} beats {base} in {heading}"
    nearest = (
        f"furthest ahead {name(top.a)}, by {_by(top)}" if gain(top) > 0 else f"closest {name(top.a)}, {_by(top)} behind"
    )
    return [Clause(text, 9), Clause(f"({nearest})", 5.5, " "), *lost]


def count(number: int, one: str, many: str) -> str:
    """ "1 row", "2 rows"."""
    return f"{number} {one if number == 1 else many}"


def baseline(found: Sequence[Comparison]) -> str:
    """The baseline by name; without its place where it is another one for others."""
    names = {name(c.b) for c in found}
    return names.pop() if len(names) == 1 else found[0].b.name


def _noun(found: Sequence[Comparison]) -> str:
    """ "the 11 other fusions", or "variants" where rows differ in more than their fusion, or places of the baseline."""
    rows = [*(c.a for c in found), found[0].b]
    noun = "fusion" if len({row.fusion for row in rows}) == len(rows) else "variant"
    whose, noun = ("its", "place") if all(map(_moved, found)) else ("the", noun)
    return f"{whose} {len(found)} other {noun}s" if len(found) > 1 else f"{whose} one other {noun}"


def _without_comparison(question: Question) -> str:
    """What can be said where no fusion can be compared with another."""
    rows = question.fusions() or question.simple()
    if not rows:
        return "nothing can be said yet, no row has a finite score"
    best, heading = rows[0], metrics.heading(question.metric)
    score = tables.cell_text(best, question.metric)
    if len(rows) == 1:
        return f"{name(best)} alone has a result, {heading} {score}, and nothing to be compared with"
    tried = [c for i, c in question.table.compared[question.metric].items() if i in question.own]
    why = "no difference can be tested"
    if not tried:
        why = "the baseline has no value to compare with"
    elif all(len(c.seeds) < 2 for c in tried):
        why = "with fewer than two common seeds nothing is known"
    return f"{name(best)} is ahead with {heading} {score}, but {why}"


def unbeaten(question: Question) -> Row | None:
    """The best row without fusion, if no fusion has a better mean."""
    fusions, simple = question.fusions(), question.simple()
    if not fusions or not simple:
        return None
    sign, top = metrics.sign(question.metric), simple[0]
    return top if sign * mean(top, question.metric) >= sign * mean(fusions[0], question.metric) else None


def kind(question: Question) -> str:
    """What the rows that fuse are called: "fusion", or "model" where rows of one fusion have other names."""
    rows = question.fusions()
    return "fusion" if len({row.fusion for row in rows}) == len({row.name for row in rows}) else "model"


def against_simple(question: Question) -> Clause | None:
    """That a row without fusion is as good as the best fusion, where one is."""
    top = unbeaten(question)
    if top is None:
        return None
    return Clause(
        f"no {kind(question)} has a better mean than {name(top)}, which has {tables.cell_text(top, question.metric)}", 8
    )


def graph_pair(question: Question) -> Comparison | None:
    """The comparison that stands for what the graph is worth: the baseline's, else that of the best row with it."""
    found = [c for c in question.beside if c.b.role == "no graph"]
    bases = [c.b for c in question.compared()]
    return next((c for c in found if any(c.a is base for base in bases)), next(iter(found), None))


def graph(question: Question) -> Clause | None:
    """What the graph is worth: a row against the same row without it."""
    found = graph_pair(question)
    if found is None:
        return None
    whose = found.a.name
    if not found.separated:
        side = "ahead" if gain(found) > 0 else "behind"
        return Clause(f"the graph is not shown to be worth anything to {whose} ({_by(found)} {side} with it)", 7)
    worth = f"is worth {_by(found)} to {whose}" if gain(found) > 0 else f"costs {whose} {_by(found)}"
    return Clause(f"the graph {worth}", 7)


def place(question: Question) -> Clause | None:
    """What another place costs the fusion that is best; or that the baseline is better at another place."""
    if question.compared() and not question.others():
        return None  # the verdict has said it
    moved = [c for c in question.beside if c.b.role in question.fusing and c.separated]
    moved += [c for c in question.compared() if c.better and _moved(c)]
    if not moved:
        return None
    found = moved[0]
    first, second = (f"{row.name} {row.placement}" for row in (found.a, found.b))
    return Clause(f"{first} is {_by(found)} ahead of {second}", 4)


def scores(question: Question) -> Clause | None:
    """How far rows without fusion come, and the best fusion; but for what `against_simple` has said."""
    fusions, metric, said = question.fusions(), question.metric, unbeaten(question)
    if not fusions:
        return None
    alone = [row for row in question.rows("no graph", "modality") if row.placement.endswith(NO_GRAPH)]
    found = {
        "structure alone": question.rows("structure"),
        "one modality": question.rows("modality"),
        **{name(row): [row] for row in question.rows("control")[:1]},
        "features alone": alone if question.rows("no graph") and fusions[0].role == "fusion" else [],
    }
    digits = tables.scaling(metric, percent=False)[1]
    told = {
        word: f" {mean(rows[0], metric):.{digits}f}" for word, rows in found.items() if rows and rows[0] is not said
    }
    if not told:
        return None
    first, *rest = told
    parts = [f"{first} reach{'' if first.endswith('s alone') else 'es'}{told[first]}", *(w + told[w] for w in rest)]
    listed = " and ".join([*[", ".join(parts[:-1])] * bool(rest), parts[-1]])
    return Clause(f"{listed}, the best {kind(question)} {mean(fusions[0], metric):.{digits}f}", 6)


def ceiling(question: Question) -> Clause | None:
    """The best that is known, and the best that others report."""
    sign, parts = metrics.sign(question.metric), []
    for kind in (KNOWN, PUBLISHED):
        rows = [r for r in question.table.rows if r.protocol == kind and question.metric in r.published]
        if rows:
            top = max(rows, key=lambda row: sign * row.published[question.metric][0])
            parts.append(f"{kind}: {short(top.label, 48)} {top.published[question.metric][0]:.3f}")
    return Clause(", ".join(parts), 2) if parts else None


def short(text: str, longest: int = 32) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= longest else text[: longest - 3] + "..."
