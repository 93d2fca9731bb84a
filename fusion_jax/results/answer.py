"""The answer of a study in one sentence, made of facts alone: line one of every report.

Of each data set it says whether a fusion beats the baseline after correction, by how much, what the graph is worth and
how far rows without fusion come; then what limits all of it: seeds, tuning, rows that failed. What does not fit
`LIMIT` characters is left out, the least important first.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from fusion_jax import metrics
from fusion_jax.results import clauses, tables
from fusion_jax.results.across import friedman
from fusion_jax.results.clauses import Clause, Question, count, short
from fusion_jax.results.compare import BASELINE, Comparison
from fusion_jax.results.rendering import grid
from fusion_jax.results.rendering import table as shared
from fusion_jax.results.rendering.table import Table, name
from fusion_jax.results.row import UNFINISHED, Row
from fusion_jax.study import tuning

LIMIT = 450  # characters
EACH = 3  # data sets (of one, protocols and settings) that have clauses of their own; of more there is a summary
FEW = 6  # seeds with which a two-sided Wilcoxon test can be below .05 at all
NOTHING = "nothing can be said yet: no row has a result"


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
    asked, found = list(questions(made)), _of_claims(claims)
    if not asked:
        found.append(Clause(NOTHING, 9, "; "))
    elif len(asked) > EACH:
        found += _summary(asked, made)
    else:
        asked = clauses.with_beside(asked)
        for i, question in enumerate(asked):
            found += _of(question)
            if all(later.table is not question.table for later in asked[i + 1 :]):
                found += filter(None, [clauses.ceiling(question)])
    said = tuning.marked("", shared.tuned_alike(table))  # once, at the end
    found = [dataclasses.replace(clause, text=clause.text.replace(said, "")) for clause in found]
    return _capital(_joined([*found, *_limits(table)]), [name(row).replace(said, "") for row in table])


def _capital(text: str, names: Sequence[str]) -> str:
    """The text with a capital at its begin, but for a row's name, which is spelled as it is."""
    return text if any(text.startswith(f"{each} ") for each in names) else text[:1].upper() + text[1:]


def questions(made: Sequence[Table]) -> Iterator[Question]:
    """What can be asked of the tables: a question for each protocol and setting of each that has a result."""
    kinds = [(table, *kind) for table in made for kind in shared.kinds(table.rows) if table.lead]
    for table, protocol, setting in kinds:
        data = table.rows[0].data
        alike = [(p, s) for t, p, s in kinds if t.rows[0].data == data]
        leads = {t.lead for t, *_ in kinds if t.rows[0].data == data}  # of one a task
        where = [f"on {short(data, 48)}"] if len({t.rows[0].data for t, *_ in kinds}) > 1 else []
        where += [f"by {metrics.heading(table.lead)}"] if len(leads) > 1 else []
        where += [f"under protocol {protocol}"] if len({p for p, _ in alike}) > 1 else []
        where += [f"in setting {setting}"] if len({s for _, s in alike}) > 1 else []
        own = [i for i, r in enumerate(table.rows) if r.values and (r.protocol, r.setting) == (protocol, setting)]
        yield Question(" ".join(where), table, tuple(own))


def _joined(clauses: Sequence[Clause]) -> str:
    """One sentence of the clauses that fit."""
    kept = list(clauses)
    while len(kept) > 1 and len(_run(kept)) >= LIMIT:
        kept.remove(min(reversed(kept), key=lambda c: c.weight))
    text = " ".join(_run(kept).split())
    return (text if len(text) < LIMIT else text[: LIMIT - 4] + "...").rstrip(".") + "."


def _run(clauses: Sequence[Clause]) -> str:
    return clauses[0].text + "".join(c.joint + c.text for c in clauses[1:])


def _of(question: Question) -> list[Clause]:
    """The clauses of one data set, the first with where it is."""
    first, *more = clauses.of(question)
    return [dataclasses.replace(first, text=f"{question.where} {first.text}".strip(), joint="; "), *more]


def _summary(asked: Sequence[Question], made: Sequence[Table]) -> list[Clause]:
    """Many data sets: on how many a fusion beats the baseline, and which ranks first over all.

    A data set with several protocols and settings counts once, and where any of them says so; of one data set these
    are counted.
    """
    several = len({question.data for question in asked}) > 1
    compared: dict[str, list[Comparison]] = {}
    graph: dict[str, bool] = {}
    for i, question in enumerate(clauses.with_beside(asked)):
        of = question.data if several else str(i)
        compared.setdefault(of, []).extend(question.others())
        if (pair := clauses.graph_pair(question)) is not None:
            graph[of] = graph.get(of, False) or (pair.separated and clauses.gain(pair) > 0)
    over = f"over {len(compared)} {'data sets' if several else 'protocols and settings'}"
    on = "on" if several else "in"
    judged = [c for found in compared.values() for c in found]
    if not judged:
        return [Clause(f"{over} nothing can be compared", 9, "; ")]
    better = [dict.fromkeys(name(c.a) for c in found if c.better) for found in compared.values()]
    wins = collections.Counter(winner for winners in better for winner in winners)
    base = clauses.baseline(judged)
    text = f"{over} no fusion beats {base} {on} any after correction"
    if wins:
        top, times = wins.most_common(1)[0]
        text = f"{over} {base} is beaten {on} {sum(map(bool, better))}, most often by {top} ({times})"
    found = [Clause(text, 9, "; "), *_first_rank(made)]
    return found + [Clause(f"the graph helps {on} {sum(graph.values())} of {len(graph)}", 7)] * bool(graph)


def _first_rank(made: Sequence[Table]) -> list[Clause]:
    """Which variant has the best mean rank over the data sets, where they can be ranked."""
    ranks = grid.of(made)
    if ranks is None or ranks.ranked < 2:
        return []
    best = int(np.nanargmin(ranks.ranks))
    variant, placement = ranks.names[best]
    _, p, _, _ = friedman(ranks.matrix)
    told = f", Friedman p {shared.p_text(p, equal=True)}" if np.isfinite(p) else ""
    where = f"{variant} ({placement})" if placement != "-" else variant
    return [Clause(f"best mean rank: {where} ({ranks.ranks[best]:.1f} of {ranks.ranked}{told})", 8)]


def _limits(table: Sequence[Row]) -> list[Clause]:
    """What limits all of it: rows that are missing, seeds, tuning, selection on test rows."""
    run = [row for row in table if not row.published]
    failed = sum(not row.values and row.error != UNFINISHED for row in run)
    waiting = sum(not row.values and row.error == UNFINISHED for row in run)
    partly = sum(bool(row.values) and bool(row.cell) and row.label != row.name for row in run)
    parts = [f"{count(n, one, many)}" for n, one, many in (
        (failed, "row failed", "rows failed"),
        (waiting, "is not finished", "are not finished"),
        (partly, "lacks seeds", "lack seeds"),
    ) if n]  # fmt: skip
    missing = Clause(f"of {count(len(run), 'row', 'rows')} " + ", ".join(parts), 8, "; ") if parts else None
    paper = any(row.protocol == "paper" for row in run if row.values)
    selected = Clause("rows of protocol paper were selected on test rows", 8, "; ") if paper else None
    return [c for c in (missing, selected, _seeds(run), _tuned(run)) if c is not None]


def _seeds(run: Sequence[Row]) -> Clause | None:
    text = shared.seeds_text(run)
    if not text:
        return None
    few = min(shared.counts(run)) < FEW
    return Clause(f"only {text}" if few else text, 8 if few else 6.5, "; ")


def _tuned(run: Sequence[Row]) -> Clause | None:
    trials = {row.trials for row in run if row.values and row.role == "fusion"}
    if not trials:
        return None
    if trials == {0}:
        return Clause("untuned", 6.5)
    if alike := shared.tuned_alike(run):
        return Clause(f"each tuned with {alike} trials", 6.5)
    return Clause("tuned with unequal budgets", 8)


def _of_claims(claims: Sequence) -> list[Clause]:
    """How many claims hold, fail and are undecided."""
    counts = collections.Counter(claim.verdict for claim in claims)
    words = dict(holds=("holds", "hold"), fails=("fails", "fail"), undecided=("is undecided", "are undecided"))
    parts = [count(counts[verdict], *forms) for verdict, forms in words.items() if counts[verdict]]
    return [Clause(f"Of {count(len(claims), 'claim', 'claims')} {', '.join(parts)}", 9)] if parts else []
