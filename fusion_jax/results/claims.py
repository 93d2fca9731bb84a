"""What a study claimed beforehand, and what its results say of it: holds, fails, or undecided.

Claims are resolved to rows before they are recorded (`claim_record`); one that was written when results existed is said
to be one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fusion_jax import metrics
from fusion_jax.results import claim_record, measured_rows, paired, power, tables
from fusion_jax.results.data_names import data_names, problem
from fusion_jax.results.differences import Difference, difference
from fusion_jax.results.entries import placed
from fusion_jax.results.equivalence import outside
from fusion_jax.results.families import is_named, usable
from fusion_jax.results.paired import Estimate
from fusion_jax.results.row import Row
from fusion_jax.results.singles import SINGLE, SINGLE_PAPER, is_single
from fusion_jax.results.store import Store
from fusion_jax.study import Cell, Claim, flatten, unknown
from fusion_jax.study.tuning import untuned
from fusion_jax.zoo import nearest

LEVEL = 0.05
HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
Test = Callable[[Estimate], float]


@dataclasses.dataclass(frozen=True)
class Answered:
    """What the results say of a claim.

    Attributes:
        text: the claim.
        verdict: "holds", "fails" or "undecided".
        evidence: the differences, their intervals, p after Holm over the claims, and how it was tested, in words.
        more_seeds: how many more seeds decide it with a power of 80 % if the differences stay as they are; None where
            it is decided, or no number of seeds does.
        p, adjusted: two-sided, before and after Holm over the claims; NaN where nothing is known.
        late: how many seeds had finished or begun when it was written; 0 where it was written beforehand.
        claim: as it is stored.
        pairs: (better, than) of every data set that it is about.
        alone: the verdict before Holm, as if this were the only claim.
    """

    text: str
    verdict: str
    evidence: str
    more_seeds: int | None
    p: float
    adjusted: float
    late: int
    claim: Claim
    pairs: tuple[tuple[Row, Row], ...]
    alone: str = UNDECIDED


def resolved(
    claims: Sequence[Claim], cells: Sequence[Cell], file: str = "", measured: Mapping[str, str] | None = None
) -> list[Claim]:
    """The claims with the rows of the cells that they are about, as "label, placement" where that is one.

    Args:
        measured: {row that is measured on a cell: the cell's label}.
    Raises:
        ValueError: a claim names no row, several of one table, rows that no data set has both of, or no data set;
            names the file, the claim, the field, its value and the nearest.
    """
    if not claims:
        return []
    names = data_names([cell.plan.data for cell in cells])
    listed = [_Listed.of(cell, names) for cell in cells]
    listed += [
        dataclasses.replace(cell, name=row, config={}, single=False)
        for row, label in (measured or {}).items()
        for cell in listed
        if cell.name == label
    ]
    listed += [row for cell in listed for row in cell.derived(listed)]
    return [_resolved(claim, listed, f"{file}: claim" if file else "claim") for claim in claims]


@dataclasses.dataclass(frozen=True)
class _Listed:
    """A row that a study will have."""

    name: str
    placement: str
    data: str
    kind: tuple[str, str]  # protocol, setting
    config: Mapping[str, Any]
    single: bool = False

    @classmethod
    def of(cls, cell: Cell, names: Mapping[str, str]) -> _Listed:
        part, (name, placement) = cell.plan.data, placed(cell.label, cell.plan)
        kind = cell.plan.protocol, part.setting or "default"
        config = flatten(cell.config)
        return cls(name, placement, names[problem(part)], kind, config, is_single(cell.plan))

    def derived(self, listed: Sequence[_Listed]) -> list[_Listed]:
        """The best single modality, for the first of several."""
        if not self.single:
            return []
        like = [
            r for r in listed if r.single and (r.placement, r.data, r.kind) == (self.placement, self.data, self.kind)
        ]
        name = SINGLE if self.kind[0] != "paper" else SINGLE_PAPER
        return (
            [dataclasses.replace(self, name=name, config={}, single=False)] if len(like) > 1 and like[0] is self else []
        )

    def fits(self, selector: Any) -> bool:
        if isinstance(selector, str):
            names = (self.name, untuned(self.name))
            return selector in names or selector in [f"{name}, {self.placement}" for name in names]
        return all(key in self.config and _plain(self.config[key]) == _plain(v) for key, v in selector.items())


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _resolved(claim: Claim, listed: list[_Listed], at: str) -> Claim:
    at = f"{at} {claim.claim!r}"
    if claim.data:
        known = dict.fromkeys(row.data for row in listed)
        listed = [row for row in listed if _is_data(row.data, claim.data)]
        if not listed:
            raise ValueError(f"{at}: data={claim.data!r}, no such data set{nearest(claim.data, known)}")
    sides = {}
    for field in ("better", "than"):
        sides[field] = _matches(getattr(claim, field), listed, f"{at}: {field}")
    tables_of = {field: {(row.data, row.kind) for row in rows} for field, rows in sides.items()}
    if not tables_of["better"] & tables_of["than"]:
        raise ValueError(f"{at}: no data set has both {claim.better!r} and {claim.than!r} in one protocol and setting")
    if same := next((row for row in sides["better"] if row in sides["than"]), None):
        raise ValueError(
            f"{at}: better={claim.better!r} and than={claim.than!r} are one row, {same.name}, {same.placement}; "
            f"expected two"
        )
    return dataclasses.replace(claim, **{field: _name(rows) for field, rows in sides.items()})


def _matches(selector: Any, listed: list[_Listed], at: str) -> list[_Listed]:
    """The rows that a selector names, one a table at most."""
    if not isinstance(selector, str):
        every = {key: value for row in listed for key, value in row.config.items()}
        for key in selector:
            if key not in every:
                raise ValueError(f"{at}={dict(selector)!r}: {unknown(key, every)}")
    found = [row for row in listed if row.fits(selector)]
    if not found:
        there = dict.fromkeys(name for row in listed for name in (row.name, f"{row.name}, {row.placement}"))
        near = nearest(selector, there) if isinstance(selector, str) else ""
        rows = ", ".join(dict.fromkeys(row.name for row in listed))
        raise ValueError(f"{at}={selector!r} names no row{near}; there are: {rows}")
    for row in found:
        same = [f"{r.name}, {r.placement}" for r in found if (r.data, r.kind) == (row.data, row.kind)]
        if len(same) > 1:
            raise ValueError(
                f"{at}={selector!r} names {len(same)} rows of {row.data}; expected one of: {'; '.join(same)}"
            )
    return found


def _name(rows: list[_Listed]) -> str:
    """ "label, placement"; the label alone where data sets differ in the placement.

    Raises ValueError where the rows have several labels, so that no text is of all of them.
    """
    both = {f"{row.name}, {row.placement}" for row in rows}
    return both.pop() if len(both) == 1 else rows[0].name


def _is_data(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted} (")


def answer(store: Store, rows: Sequence[Row] | None = None) -> list[Answered]:
    """The claims of a study in their order, () without any; `rows` as `tables.rows` reads them.

    A claim of better by at least b holds where the difference is significantly above b after Holm over the claims, and
    fails where it is significantly below; one of equivalence holds where both one-sided tests reject, and fails where
    the difference lies significantly outside of the margin. As either may come out, p is twice that of one side, also
    of equivalence: before Holm a claim holds where its 95 % interval lies within the margin. One about several data
    sets holds where it does on all of them, and fails where it does on one.

    Raises:
        FileNotFoundError: the folder holds no study.
    """
    return answer_all([(store, rows)])[0]


def answer_all(studies: Sequence[tuple[Store, Sequence[Row] | None]]) -> list[list[Answered]]:
    """The claims of several studies, as `answer` with Holm's correction over all claims of all of them.

    Args:
        studies: each with its rows, or None.
    """
    judged, late = [], []
    for store, rows in studies:
        study = store.read_study()
        versions, trained = study.get("claims", ()), claim_record.trained(store, study)
        stored = versions[-1]["claims"] if versions else []
        rows = tables.rows(store) if rows is None and stored else rows
        rows = [*rows, *measured_rows.rows(store, rows)] if stored else rows
        judged.append([judge(Claim(**claim), rows) for claim in stored])
        now = 0 if all(map(claim_record.as_written, versions)) else store.count_finished()
        late.append([claim_record.late(claim, versions, now, trained) for claim in stored])
    every = [one for some in judged for one in some]
    adjusted = iter(_adjusted([one.p for one in every]))
    return [
        [one.answered(float(next(adjusted)), len(every), n) for one, n in zip(some, own, strict=True)]
        for some, own in zip(judged, late, strict=True)
    ]


def _adjusted(p: Sequence[float]) -> np.ndarray:
    """Holm over all claims, those of which nothing is known yet too: their results must not take a verdict back."""
    p = np.array(p, float)
    return np.where(np.isnan(p), np.nan, paired.holm(np.where(np.isnan(p), 1.0, p)))


@dataclasses.dataclass(frozen=True)
class Judged:
    """A claim and its tests on every data set that it is about.

    Attributes:
        parts: the rows and their difference.
        holds: one-sided p against the claim's failing, the largest of all parts; NaN where a part is not known.
        fails: one-sided p against its holding, of the part that says so most clearly, corrected for the number of all,
            those that are not known yet too: their results must not take a verdict back.
        lacking: what keeps a part from being known, or "".
    """

    claim: Claim
    parts: tuple[tuple[Row, Row, Difference], ...]
    holds: float
    fails: float
    lacking: str = ""

    @property
    def p(self) -> float:
        """Two-sided."""
        return float(np.minimum(1, 2 * np.fmin(self.holds, self.fails)))

    def answered(self, adjusted: float, claims: int, late: int) -> Answered:
        side = HOLDS if self.holds < self.fails else FAILS
        verdict, alone = (side if p < LEVEL else UNDECIDED for p in (adjusted, self.p))
        level = LEVEL * self.p / adjusted if 0 < adjusted < 1 else LEVEL / claims
        asked = verdict == UNDECIDED and not self.lacking  # what is lacking is no seeds of those that are there
        wanted = [self._seeds(i, level) for i in range(len(self.parts))] if asked else []
        more = None if None in wanted else max(wanted, default=None)
        evidence = "; ".join([*filter(None, [self.lacking]), *map(self._evidence, range(len(self.parts)))])
        if self.parts and not np.isnan(adjusted):
            evidence += f"; p {p_text(adjusted)}" + (f" after Holm over {claims} claims" if claims > 1 else "")
        if verdict == UNDECIDED and not self.lacking and more is None:
            evidence += "; no number of seeds is likely to decide it"
        pairs = tuple((a, b) for a, b, _ in self.parts)
        return Answered(self.claim.claim, verdict, evidence, more, self.p, adjusted, late, self.claim, pairs, alone)

    def _evidence(self, i: int) -> str:
        a, b, found = self.parts[i]
        metric = self.claim.metric or a.primary
        low, high = found.interval(0.95)
        of = f"{a.name}, {a.placement} - {b.name}, {b.placement} on {a.data}"
        interval = "" if np.isnan(low) else f" (95 % interval {low:+.3f} to {high:+.3f})"
        value = "" if np.isnan(found.estimate.mean) else f" {found.estimate.mean:+.3f}{interval}"
        count = f"{len(found.seeds)} seeds"
        told = [f"; {row.label}" for row in (a, b) if row.label != row.name]  # which seeds have no result, and why
        return f"{of}: {metric}{value}, {count}, {found.variance.method}{''.join(told)}"

    def _seeds(self, i: int, level: float) -> int | None:
        """More seeds until one part is decided, if its difference stays as it is."""
        a, _, found = self.parts[i]
        if not found.spread > 0:
            return None
        sign = metrics.sign(self.claim.metric or a.primary)
        far = abs(sign * found.estimate.mean - self.claim.by)
        if self.claim.equivalent:
            far = abs(self.claim.equivalent - abs(found.estimate.mean))
        n = power.needed(far / found.spread, found.ratio, level)
        return None if n is None else max(1, n - len(found.seeds))


def judge(claim: Claim, rows: Sequence[Row]) -> Judged:
    """The tests of a claim on the rows of a study.

    Rows whose number of seeds was fixed say nothing before all of them are there: the claim would be decided by when
    one looks.
    """
    parts, tests, lacking = [], [], []
    pairs = _pairs(claim, rows)
    for a, b in pairs:
        metric = claim.metric or a.primary
        a, b = (_with_calibration(row, metric) for row in (a, b))
        short = [r.label for r in (a, b) if not usable(r, metric) or (r.error and not r.limit)]
        if short:
            lacking.append(f"{' and '.join(short)} on {a.data}: no results yet, or no {metric}")
            continue
        found = difference(a, b, metric)
        parts.append((a, b, found))
        tests.append([_p(found, test) for test in _one_sided(claim, metrics.sign(metric))])
    if not parts:
        return Judged(claim, (), np.nan, np.nan, "; ".join(lacking) or "its rows are not among those of the study now")
    holds, fails = np.array(tests).T
    fail = np.fmin.reduce(fails) * len(pairs)
    return Judged(claim, tuple(parts), np.nan if lacking else float(holds.max()), float(fail), "; ".join(lacking))


def _with_calibration(row: Row, metric: str) -> Row:
    """The row with a metric of the calibration table, which stands beside its other values, among these."""
    if metric in row.values or row.calibration is None or metric not in row.calibration.values:
        return row
    return dataclasses.replace(row, values={**row.values, metric: row.calibration.values[metric]})


def _pairs(claim: Claim, rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """(better, than) of every data set, protocol and setting that has both."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if not row.published and (not claim.data or _is_data(row.data, claim.data)):
            groups.setdefault((row.data, row.protocol, row.setting), []).append(row)
    found = [
        [next((r for r in g if is_named(r, n)), None) for n in (claim.better, claim.than)] for g in groups.values()
    ]
    return [(a, b) for a, b in found if a is not None and b is not None]


def _p(found: Difference, test: Test) -> float:
    """One-sided, over the looks so far, whose levels are two-sided."""
    return found.p(lambda estimate: float(np.minimum(1, 2 * test(estimate)))) / 2


def _one_sided(claim: Claim, sign: int) -> tuple[Test, Test]:
    """The tests against "fails" and against "holds", each Estimate -> p."""
    if claim.equivalent:
        margin = claim.equivalent

        def beyond(estimate: Estimate) -> float:
            return float(np.minimum(1, 2 * np.minimum(estimate.above(margin), estimate.below(-margin))))

        return lambda estimate: outside(estimate, margin), beyond
    if sign > 0:
        return lambda estimate: estimate.above(claim.by), lambda estimate: estimate.below(claim.by)
    return lambda estimate: estimate.below(-claim.by), lambda estimate: estimate.above(-claim.by)


def p_text(p: float) -> str:
    """ "= .012", "< .001", "> .999"."""
    return "< .001" if p < 0.001 else "> .999" if p >= 0.9995 else "= " + f"{p:.3f}".removeprefix("0")
