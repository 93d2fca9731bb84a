"""What a table says of its rows, whatever the form: places, marks against the baseline, cost, texts of its cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from fusion_jax import metrics
from fusion_jax.results import across, compare, families, pareto, tables
from fusion_jax.results.compare import BASELINE, Comparison
from fusion_jax.results.differences import FLOOR
from fusion_jax.results.row import KNOWN, PUBLISHED, Row
from fusion_jax.zoo import nearest

COSTS = ("parameters", "flops", "peak_bytes", "seconds", "compile_seconds")  # attributes of a row
PRICED = ("parameters", "seconds")  # those with a Pareto front


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of one data set and task, and what is said of them.

    Attributes:
        rows: in the order of the study.
        metrics: the columns.
        lead: the metric that stands for the table: the task's own, or the first; "" where no row has any.
        places: {metric: {index of a row: 1 for the best mean of its protocol and setting, 2 for the second of three or
            more}}; equal means share a place, and of several that are best none is the second.
        compared: {metric: {index of a row: the row against the baseline}}.
        corrected: {metric: over how many comparisons Holm's correction is}: all on the data set of which something is
            known, those of rows among them that lack a value and show a dash.
        front: {cost: indices of the rows that no other beats in both the lead and this cost}.
    """

    rows: tuple[Row, ...]
    metrics: tuple[str, ...]
    lead: str
    places: Mapping[str, Mapping[int, int]]
    compared: Mapping[str, Mapping[int, Comparison]]
    front: Mapping[str, frozenset[int]]
    corrected: Mapping[str, int]

    @property
    def differs(self) -> bool:
        """Whether rows are compared in the lead metric."""
        return bool(self.compared.get(self.lead))

    def only(self, shown: Sequence[str] | None) -> Table:
        """The table with these of its metrics, or with the one that stands for it.

        Raises:
            ValueError: it lacks one of them; names those it has.
        """
        if shown is None:
            return dataclasses.replace(self, metrics=(self.lead,) if self.lead else ())
        if unknown := [m for m in shown if m not in self.metrics]:
            data, known = self.rows[0].data, ", ".join(self.metrics) or "none"
            raise ValueError(
                f"metrics={unknown[0]!r}: no row of {data} has it{nearest(unknown[0], self.metrics)}; found: {known}"
            )
        return dataclasses.replace(self, metrics=tuple(shown))

    def mark(self, metric: str, i: int) -> str:
        """ "+" where row i is better than the baseline after correction, "-" where it is worse, else ""."""
        found = self.compared[metric].get(i)
        return "" if found is None else "+" * bool(found.better) + "-" * bool(found.worse)

    def is_baseline(self, i: int) -> bool:
        """Whether others are compared with row i."""
        return any(c.b is self.rows[i] for c in self.compared.get(self.lead, {}).values())


def of(group: Sequence[Row], *, baseline: str = BASELINE) -> Table:
    """The table of a group of rows (`tables.grouped`), in all metrics that its kind of table shows.

    A group without a row of the baseline's name is compared as `compare.against` does by default.
    """
    baseline = baseline if any(families.is_named(row, baseline) for row in group) else BASELINE
    columns = tuple(tables.columns(list(group)))
    primary = next((row.primary for row in group if row.values), "")
    lead = primary if primary in columns else next(iter(columns), "")
    kinds: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(group):
        if row.values:
            kinds.setdefault((row.protocol, row.setting), []).append(i)
    at = {id(row): i for i, row in enumerate(group)}
    places, compared, corrected = {}, {}, {}
    for metric in columns:
        places[metric] = {i: p for own in kinds.values() for i, p in _places(group, own, metric).items()}
        found = compare.against(group, metric, baseline)
        known = [c for c in found if np.isfinite(mean(c.a, metric) + mean(c.b, metric))]  # others show a dash
        compared[metric] = {at[id(c.a)]: c for c in known}
        corrected[metric] = sum(bool(np.isfinite(c.p)) for c in found)
    front = {cost: frozenset(i for own in kinds.values() for i in _front(group, own, lead, cost)) for cost in PRICED}
    return Table(tuple(group), columns, lead, places, compared, front, corrected)


def kinds(group: Sequence[Row]) -> list[tuple[str, str]]:
    """Protocol and setting of the rows that were run, each once."""
    return list(dict.fromkeys((row.protocol, row.setting) for row in group if row.values))


def mean(row: Row, metric: str) -> float:
    """The mean over seeds; NaN where a seed has none."""
    values = row.values.get(metric)
    return float(np.mean(values)) if values is not None and np.isfinite(values).all() else float("nan")


def _places(group: Sequence[Row], own: Sequence[int], metric: str) -> dict[int, int]:
    return best_two({i: metrics.sign(metric) * mean(group[i], metric) for i in own})


def best_two(scores: Mapping[int, float]) -> dict[int, int]:
    """{key: 1 of the best, 2 of the second of three or more} of {key: score}, where more is better; see `Table`."""
    known = {key: score for key, score in scores.items() if np.isfinite(score)}
    ranks = across.rank(np.array([list(known.values())]))[0]
    best, *rest = np.unique(ranks) if known else [0]
    shown = [best, *rest[:1]] if len(known) > 2 and (ranks == best).sum() == 1 else [best]
    return {key: 1 + shown.index(rank) for key, rank in zip(known, ranks, strict=True) if rank in shown}


def _front(group: Sequence[Row], own: Sequence[int], metric: str, cost: str) -> list[int]:
    if not metric or len(own) < 2:
        return []
    score = np.array([metrics.sign(metric) * mean(group[i], metric) for i in own])
    price = np.array([np.nan if getattr(group[i], cost) is None else getattr(group[i], cost) for i in own], float)
    return [i for i, free in zip(own, pareto.front(score, price), strict=True) if free]


def title(group: Sequence[Row]) -> str:
    """Data set, protocol(s) and setting of a group of rows."""
    protocols = " and ".join(sorted({r.protocol for r in group if r.protocol and not r.published})) or "unknown"
    settings = sorted({r.setting for r in group if r.setting})
    return f"{group[0].data}; protocol {protocols}; setting {', '.join(settings) or 'unknown'}"


def sources(group: Sequence[Row]) -> list[str]:
    """What the rows of a table that are not run are cited from, in the order they first come; numbered from 1 there."""
    return list(dict.fromkeys(row.source for row in group if row.published))


def cited(group: Sequence[Row], text, published: str, known: str) -> str:
    """The sources of the rows that are not run, after the words for either kind, with numbers; "" without any."""
    found = []
    for kind, words in ((PUBLISHED, published), (KNOWN, known)):
        own = {row.source for row in group if row.protocol == kind}
        numbered = [f"{i}: {text(source)}" for i, source in enumerate(sources(group), 1) if source in own]
        found += [f"{words}: {'; '.join(numbered)}."] if numbered else []
    return " ".join(found)


def labels(group: Sequence[Row]) -> Iterator[str]:
    """For every row its label, with protocol, setting and number of its source where the group has several."""
    protocols = {r.protocol for r in group if not r.published}
    settings = {r.setting for r in group if r.setting}
    numbers = sources(group)
    for row in group:
        marks = [row.protocol] * (len(protocols) > 1 or bool(row.published)) + [row.setting] * (len(settings) > 1)
        marks += [str(numbers.index(row.source) + 1)] if row.published else []
        marks = [m for m in marks if m]
        yield f"{row.label} [{', '.join(marks)}]" if marks else row.label


def name(row: Row) -> str:
    """Label and placement of a row in a sentence: "gmu (before)"."""
    return row.name if row.placement == "-" else f"{row.name} ({row.placement})"


def tuned_alike(rows: Sequence[Row]) -> int:
    """With how many trials the fusions were tuned where all had as many, else 0."""
    trials = {row.trials for row in rows if row.values and row.role == "fusion"}
    return trials.pop() if len(trials) == 1 else 0


def baselines(table: Table) -> list[str]:
    """The rows that others are compared with, by name."""
    return list(dict.fromkeys(name(c.b) for found in table.compared.values() for c in found.values()))


def against(made: Sequence[Table]) -> str:
    """The rows that others are compared with, and where a column has several of them, which is whose."""
    names = ", ".join(dict.fromkeys(each for table in made for each in baselines(table)))
    several = any(len({name(c.b) for c in found.values()}) > 1 for table in made for found in table.compared.values())
    return names + " (the one placed as the row is, else the first)" * several


def methods(table: Table) -> list[str]:
    """By which tests and intervals the rows are compared in the lead metric."""
    return told_once(table.compared.get(table.lead, {}).values())


def told_once(compared: Iterable[Comparison]) -> list[str]:
    """The methods of comparisons; two that differ in the floor of the spread alone are told as one."""
    found = dict.fromkeys(c.method for c in compared)
    both = {method.replace(FLOOR, "") for method in found if FLOOR in method} & found.keys()
    told = [method for method in found if method not in both]
    return [m.replace(FLOOR, f"{FLOOR} in some") if m.replace(FLOOR, "") in both else m for m in told]


def seeds(row: Row) -> str:
    return "-" if row.published else str(max((len(v) for v in row.values.values()), default=0))


def counts(rows: Sequence[Row]) -> list[int]:
    """How many seeds each of the rows has that were run."""
    return [len(next(iter(row.values.values()))) for row in rows if row.values]


def seeds_text(rows: Sequence[Row]) -> str:
    """ "10 seeds", "3 to 10 seeds" of the rows that were run; "" where none was."""
    low, high = min(counts(rows), default=0), max(counts(rows), default=0)
    return f"{low} to {high} seeds" if low < high else f"{low} seed{'s' * (low != 1)}" if low else ""


def has_fixed(group: Sequence[Row]) -> bool:
    """Whether the table has the column of what the fixed test rows say."""
    return any(r.tested is not None and r.table == "main" for r in group)


def by_rows(row: Row, group: Sequence[Row]) -> str:
    """The fixed test rows and what they leave open, "106: 0.716 to 0.867"; a dash where seeds have their own."""
    if row.tested is None:
        return "-"
    found = next((tables.of_rows(row, metric) for metric in tables.columns(list(group))), None)
    return str(len(row.tested)) + ("" if found is None else ": {:.3f} to {:.3f}".format(*found))


def difference(table: Table, i: int, *, percent: bool = False) -> tuple[str, str]:
    """Row i less its baseline in the lead metric with the 95 % interval, "+0.012 [-0.003, 0.027]"; p after Holm.

    A dash where they share no seed, as those of which every one diverged in one of them.
    """
    found = table.compared[table.lead].get(i)
    if found is None or np.isnan(found.difference):
        return ("baseline" if table.is_baseline(i) else "-"), "-"
    scale, digits = tables.scaling(table.lead, percent)
    value, low, high = (round(scale * v, digits) + 0.0 for v in (found.difference, found.low, found.high))
    text = f"{value:+.{digits}f}" + (
        f" [{low:.{digits}f}, {high:.{digits}f}]" if np.isfinite([low, high]).all() else ""
    )
    return text, p_text(found.adjusted)


def p_text(p: float, *, equal: bool = False) -> str:
    """A p in three digits: "0.031", "<0.001", ">0.999", "-"; in a sentence with the sign, "= 0.031", "< 0.001"."""
    if not np.isfinite(p):
        return "-"
    sign, digits = ("<", "0.001") if p < 0.001 else (">", "0.999") if p >= 0.9995 else ("=" * equal, f"{p:.3f}")
    return sign + " " * equal + digits


def cost_text(row: Row, cost: str) -> str:
    """A cost of one row in few characters: "49,735", "1.2 G", "35 MB", "0.2"; a dash where it is not known."""
    value = getattr(row, cost)
    if value is None:
        return "-"
    if cost == "parameters":
        return f"{value:,d}"
    if cost == "flops":
        return _in_thousands(value)
    if cost == "peak_bytes":
        return _in_thousands(value) + "B"
    return f"{value:.1f}"


def _in_thousands(value: float) -> str:
    """Two or three figures and the SI prefix, "1.2 G"."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if value < 999.5 or prefix == "P":
            return f"{value:.{0 if value >= 9.95 or not prefix else 1}f} {prefix}"
        value /= 1000
    raise AssertionError("unreachable")


def costs(group: Sequence[Row]) -> list[str]:
    """The columns of costs: parameters and seconds always, others where some row has them."""
    return [c for c in COSTS if c in PRICED or any(getattr(row, c) is not None for row in group)]


COST_HEADS = dict(
    parameters="parameters", flops="FLOPs", peak_bytes="memory", seconds="seconds", compile_seconds="compile s"
)
