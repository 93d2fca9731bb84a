"""The answer of a study in one sentence, made of facts alone: line one of every report.

Of each data set it says whether a fusion beats the baseline after correction, by how much, what the graph is worth and
how far rows without fusion come; then what limits all of it: seeds, tuning, rows that failed. What does not fit
`LIMIT` characters is left out, the least important first.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fusion_jax import metrics
from fusion_jax.results import compare, tables
from fusion_jax.results.across import friedman
from fusion_jax.results.compare import BASELINE, Comparison
from fusion_jax.results.rendering import grid
from fusion_jax.results.rendering import table as shared
from fusion_jax.results.rendering.table import Table, mean, name
from fusion_jax.results.tables import Row

LIMIT = 400  # characters
EACH = 3  # data sets of which each has clauses of its own; of more there is a summary
FEW = 6  # seeds with which a two-sided Wilcoxon test can be below .05 at all
SIMPLE = ("structure", "no graph", "modality", "control")  # roles of rows without fusion of modalities on the graph
NOTHING = "Nothing can be said yet: no row has a result"


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
    """

    where: str
    table: Table
    own: tuple[int, ...]

    @property
    def metric(self) -> str:
        return self.table.lead

    def rows(self, *roles: str) -> list[Row]:
        """Those with these roles and a value of the metric, the best first."""
        sign = metrics.sign(self.metric)
        found = [self.table.rows[i] for i in self.own if self.table.rows[i].role in roles]
        found = [row for row in found if np.isfinite(mean(row, self.metric))]
        return sorted(found, key=lambda row: -sign * mean(row, self.metric))

    def compared(self) -> list[Comparison]:
        """Fusions against the baseline, where something is known of their difference, the best first."""
        sign = metrics.sign(self.metric)
        found = [c for i, c in self.table.compared[self.metric].items() if i in self.own and c.a.role == "fusion"]
        found = [c for c in found if np.isfinite(c.p)]
        return sorted(found, key=lambda c: -sign * c.difference)


def sentence(
    table: Sequence[Row], *, baseline: str = BASELINE, claims: Sequence = (), made: Sequence[Table] = ()
) -> str:
    """The answer of the rows of a study, on one line of at most `LIMIT` characters.

    Args:
        table: all rows (`tables.rows`).
        baseline: the label that fusions are compared with.
        claims: the study's answered claims, of which each has a `verdict`.
        made: the tables of the rows by data set and task, where they are there already.
    """
    made = made or [shared.of(group, baseline=baseline) for group in tables.grouped(list(table)).values()]
    asked = list(questions(made))
    found = _of_claims(claims)
    if not asked:
        return _joined([Clause(NOTHING, 9), *found, *_limits(table)])
    if len(asked) > EACH:
        found += _summary(asked, made)
    else:
        for i, question in enumerate(asked):
            found += _of(question, first=not found)
            if all(later.table is not question.table for later in asked[i + 1 :]):
                found += filter(None, [_ceiling(question)])
    return _joined([*found, *_limits(table)])


def questions(made: Sequence[Table]) -> Iterator[Question]:
    """What can be asked of the tables: a question for each protocol and setting of each that has a result."""
    kinds = [(table, *kind) for table in made for kind in shared.kinds(table.rows) if table.lead]
    for table, protocol, setting in kinds:
        data = table.rows[0].data
        alike = [(p, s) for t, p, s in kinds if t.rows[0].data == data]
        where = [f"on {_short(data)}"] if len({t.rows[0].data for t, *_ in kinds}) > 1 else []
        where += [f"under protocol {protocol}"] if len({p for p, _ in alike}) > 1 else []
        where += [f"in setting {setting}"] if len({s for _, s in alike}) > 1 else []
        own = [i for i, r in enumerate(table.rows) if r.values and (r.protocol, r.setting) == (protocol, setting)]
        yield Question(" ".join(where), table, tuple(own))


def _short(text: str, longest: int = 32) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _joined(clauses: Sequence[Clause]) -> str:
    """One sentence of the clauses that fit."""
    kept = list(clauses)
    while len(kept) > 1 and len(_run(kept)) >= LIMIT:
        kept.remove(min(reversed(kept), key=lambda c: c.weight))
    text = " ".join(_run(kept).split())
    return (text if len(text) < LIMIT else text[: LIMIT - 4] + "...").rstrip(".") + "."


def _run(clauses: Sequence[Clause]) -> str:
    return clauses[0].text + "".join(c.joint + c.text for c in clauses[1:])


def _of(question: Question, first: bool) -> list[Clause]:
    """The clauses of one data set."""
    verdict, *more = _verdict(question)
    where = f"{question.where} " if question.where else ""
    where = where[:1].upper() + where[1:] if first else where
    found = [dataclasses.replace(verdict, text=where + verdict.text, joint="; "), *more]
    parts = (_against_simple, _graph, _placement, _shares)
    return found + [clause for part in parts if (clause := part(question)) is not None]


def amount(metric: str, value: float, low: float | None = None, high: float | None = None) -> str:
    """A difference in words, without its sign: "1.2 points of accuracy [0.4, 2.0]", "0.120 of RMSE"."""
    scale, digits = tables.scaling(metric, percent=True)
    ends = sorted(scale * v * np.sign(value or 1) for v in (low, high)) if low is not None else []
    interval = " [{:.{d}f}, {:.{d}f}]".format(*ends, d=digits) if ends and np.isfinite(ends).all() else ""
    unit = " points" if scale != 1 else f" of {metrics.heading(metric)}"
    return f"{abs(scale * value):.{digits}f}{unit}{interval}"


def _verdict(question: Question) -> list[Clause]:
    """Whether a fusion beats the baseline, and which comes closest where none does."""
    found, heading = question.compared(), metrics.heading(question.metric)
    if not found:
        return [Clause(_without_comparison(question), 9)]
    base, top = _base(found), found[0]
    noun = _noun([*(c.a for c in found), found[0].b], len(found))
    better, worse = [c for c in found if c.better], [c for c in found if c.worse]
    lost = [Clause(f"{_count(len(worse), 'is', 'are')} worse", 9)] if worse else []
    if better:
        top = better[0]
        text = f"{name(top.a)} beats {base} by {amount(question.metric, top.difference, top.low, top.high)}"
        text += f" of {heading}" if metrics.named(question.metric).fraction else ""
        others = [Clause(f"{len(better) - 1} more beat it too", 9)] if len(better) > 1 else []
        return [Clause(text, 9), *others, *lost]
    text = f"no difference in {heading} between {base} and the {noun} survives correction"
    if worse:
        text = f"none of the {noun} beats {base} in {heading}"
    ahead = metrics.sign(question.metric) * top.difference > 0
    by = amount(question.metric, top.difference, top.low, top.high)
    closest = Clause(f"(closest {name(top.a)}, {by} {'ahead' if ahead else 'behind'})", 5.5, " ")
    return [Clause(text, 9), closest, *lost]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _base(found: Sequence[Comparison]) -> str:
    """The baseline by name; without its place where it is another one for others."""
    names = {name(c.b) for c in found}
    return names.pop() if len(names) == 1 else found[0].b.name


def _noun(rows: Sequence[Row], others: int) -> str:
    """ "11 other fusions", or "variants" where rows differ in more than their fusion."""
    distinct = len({row.fusion for row in rows}) == len(rows)
    noun = "fusion" if distinct else "variant"
    return f"{others} other {noun}s" if others > 1 else f"one other {noun}"


def _without_comparison(question: Question) -> str:
    """What can be said where no fusion can be compared with another."""
    rows = question.rows("fusion") or question.rows(*SIMPLE)
    if not rows:
        return "nothing can be said yet, no row has a finite score"
    best, heading = rows[0], metrics.heading(question.metric)
    score = tables.cell_text(best, question.metric)
    if len(rows) == 1:
        return f"{name(best)} alone has a result, {heading} {score}, and nothing to be compared with"
    return f"{name(best)} is ahead with {heading} {score}, but with fewer than two common seeds nothing is known"


def _against_simple(question: Question) -> Clause | None:
    """That a row without fusion is as good as the best fusion, where one is."""
    fusions, simple = question.rows("fusion"), question.rows(*SIMPLE)
    if not fusions or not simple:
        return None
    sign, top = metrics.sign(question.metric), simple[0]
    if sign * mean(top, question.metric) < sign * mean(fusions[0], question.metric):
        return None
    score = tables.cell_text(top, question.metric)
    return Clause(f"no fusion scores above {name(top)}, which has {score}", 8)


def _graph(question: Question) -> Clause | None:
    """What the graph is worth: a row without it against the same fusion with it."""
    found = [c for c in map(lambda row: _with_graph(question, row), question.rows("no graph")) if c is not None]
    if not found:
        return None
    worth = metrics.sign(question.metric) * found[0].difference
    text = amount(question.metric, found[0].difference, found[0].low, found[0].high)
    if not found[0].p < 0.05:
        return Clause(f"the graph is not shown to be worth anything ({text})", 7)
    return Clause(f"the graph is worth {text}" if worth > 0 else f"the graph costs {text}", 7)


def _with_graph(question: Question, without: Row) -> Comparison | None:
    """The same fusion with the graph, in the same place if it is there, against a row without."""
    place = without.placement.removesuffix(tables.NO_GRAPH)
    able = [row for row in question.rows("fusion") if row.fusion == without.fusion]
    able = [row for row in able if row.placement == place] or able
    return _pair(able[0], without, question.metric) if able else None


def _pair(a: Row, b: Row, metric: str) -> Comparison | None:
    """a against b alone."""
    found = compare.compared(a, b, metric)
    return found if np.isfinite(found.p) else None


def _placement(question: Question) -> Clause | None:
    """What another place costs the fusion that is best."""
    rows = question.rows("fusion")
    others = [r for r in rows[1:] if (r.fusion, r.name) == (rows[0].fusion, rows[0].name)]
    others = [r for r in others if r.placement != rows[0].placement]
    found = _pair(rows[0], others[0], question.metric) if others else None
    if found is None or not found.p < 0.05:
        return None
    text = amount(question.metric, found.difference, found.low, found.high)
    first, second = (f"{row.name} {row.placement}" for row in (rows[0], others[0]))
    return Clause(f"{first} is {text} ahead of {second}", 4)


def _shares(question: Question) -> Clause | None:
    """How far rows without fusion come."""
    fusions = question.rows("fusion")
    if not fusions or not metrics.named(question.metric).fraction:
        return None
    best, parts = mean(fusions[0], question.metric), []
    words: dict[str, Callable[[Row], str]] = dict(
        structure=lambda row: "structure alone",
        modality=lambda row: "one modality",
        control=lambda row: name(row),
    )
    for role, word in [*words.items(), ("no graph", lambda row: "features alone")]:
        if (rows := question.rows(role)) and best > 0:
            parts.append((mean(rows[0], question.metric) / best, word(rows[0])))
    if not parts:
        return None
    verb = "explain" if parts[0][1].startswith("features") else "explains"
    named = [f"{word} {f'{verb} ' * (k == 0)}{100 * share:.0f} %" for k, (share, word) in enumerate(parts)]
    listed = ", ".join(named[:-1]) + " and " * (len(named) > 1) + named[-1]
    return Clause(f"{listed} of the best row", 6)


def _ceiling(question: Question) -> Clause | None:
    """The best that is known, and the best that others report."""
    sign, parts = metrics.sign(question.metric), []
    for kind in (tables.KNOWN, tables.PUBLISHED):
        rows = [r for r in question.table.rows if r.protocol == kind and question.metric in r.published]
        if rows:
            top = max(rows, key=lambda row: sign * row.published[question.metric][0])
            parts.append(f"{kind}: {_short(top.label, 48)} {top.published[question.metric][0]:.3f}")
    return Clause(", ".join(parts), 2) if parts else None


def _summary(asked: Sequence[Question], made: Sequence[Table]) -> list[Clause]:
    """Many data sets: on how many a fusion beats the baseline, and which ranks first over all."""
    wins, compared = collections.Counter(), [q.compared() for q in asked]
    wins.update({name(c.a): 0 for found in compared for c in found})
    wins.update(name(c.a) for found in compared for c in found if c.better)
    judged = [found for found in compared if found]
    over = f"over {len(asked)} data sets"
    if not judged:
        return [Clause(f"{over.capitalize()} nothing can be compared", 9)]
    base = _base([c for found in judged for c in found])
    top, times = wins.most_common(1)[0]
    text = f"{over.capitalize()} no fusion beats {base} on any after correction"
    if times:
        several = sum(any(c.better for c in found) for found in judged)
        text = f"{over.capitalize()} {base} is beaten on {several}, most often by {top} ({times})"
    clauses = [Clause(text, 9)]
    ranks = grid.of(made)
    if ranks is not None and ranks.ranked > 1:
        best = int(np.nanargmin(ranks.ranks))
        variant, placement = ranks.names[best]
        _, p, _, _ = friedman(ranks.matrix)
        told = f", Friedman p {shared.p_text(p, equal=True)}" if np.isfinite(p) else ""
        where = f"{variant} ({placement})" if placement != "-" else variant
        clauses.append(Clause(f"best mean rank: {where} ({ranks.ranks[best]:.1f} of {ranks.ranked}{told})", 8))
    worth = [found for found in map(_graph, asked) if found is not None]
    gains = sum(c.text.startswith("the graph is worth") for c in worth)
    return clauses + [Clause(f"the graph helps on {gains} of {len(worth)}", 7)] * bool(worth)


def _limits(table: Sequence[Row]) -> list[Clause]:
    """What limits all of it: rows that are missing, seeds, tuning, selection on test rows."""
    run = [row for row in table if not row.published]
    failed = sum(not row.values and row.error != tables.UNFINISHED for row in run)
    waiting = sum(not row.values and row.error == tables.UNFINISHED for row in run)
    partly = sum(bool(row.values) and bool(row.cell) and row.label != row.name for row in run)
    parts = [f"{_count(n, one, many)}" for n, one, many in (
        (failed, "row failed", "rows failed"),
        (waiting, "is not finished", "are not finished"),
        (partly, "lacks seeds", "lack seeds"),
    ) if n]  # fmt: skip
    missing = Clause(f"of {len(run)} rows " + ", ".join(parts), 8, "; ") if parts else None
    paper = any(row.protocol == "paper" for row in run if row.values)
    selected = Clause("rows of protocol paper were selected on test rows", 8, "; ") if paper else None
    return [c for c in (missing, selected, _seeds(run), _tuned(run)) if c is not None]


def _seeds(run: Sequence[Row]) -> Clause | None:
    counts = [len(next(iter(row.values.values()))) for row in run if row.values]
    if not counts:
        return None
    low, high = min(counts), max(counts)
    text = f"{low} seed{'s' * (low != 1)}" if low == high else f"{low} to {high} seeds"
    return Clause(f"only {text}", 8, "; ") if low < FEW else Clause(text, 6.5, "; ")


def _tuned(run: Sequence[Row]) -> Clause | None:
    trials = {row.trials for row in run if row.values and row.role == "fusion"}
    if not trials:
        return None
    if trials == {0}:
        return Clause("untuned", 6.5)
    if len(trials) == 1:
        return Clause(f"each tuned with {trials.pop()} trials", 6.5)
    return Clause("tuned with unequal budgets", 8)


def _of_claims(claims: Sequence) -> list[Clause]:
    """How many claims hold, fail and are undecided."""
    counts = collections.Counter(claim.verdict for claim in claims)
    words = dict(holds=("holds", "hold"), fails=("fails", "fail"), undecided=("is undecided", "are undecided"))
    parts = [_count(counts[verdict], *forms) for verdict, forms in words.items() if counts[verdict]]
    return [Clause(f"Of {_count(len(claims), 'claim', 'claims')} {', '.join(parts)}", 9)] if parts else []
