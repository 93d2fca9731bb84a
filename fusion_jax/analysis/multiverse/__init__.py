"""Whether a claim outlives the choices of a study that could as well have been others: a universe for each of them.

Reference: Steegen et al., "Increasing Transparency Through a Multiverse Analysis", Perspectives on Psychological
Science 11 (2016); the curve is that of Simonsohn et al., "Specification curve analysis", Nature Human Behaviour 4
(2020), without its joint test.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fusion_jax import metrics
from fusion_jax.analysis.base import Report
from fusion_jax.analysis.multiverse.curve import figure
from fusion_jax.analysis.multiverse.universes import Universe, is_of, placed_rows, universes_of
from fusion_jax.records import Info
from fusion_jax.results import paired
from fusion_jax.results.differences import Difference, difference
from fusion_jax.results.families import BASELINE
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store
from fusion_jax.zoo import nearest

INFO = Info(
    "Steegen et al., Increasing Transparency Through a Multiverse Analysis", 2016, cost="O(U^2) for U universes"
)
OF = "study"
CHECKED_WITH = tuple(
    {"model.fusion.name": fusion, "data.scale": scale} for fusion in ("mean", "concat_mlp") for scale in ("none", "row")
)
LEVEL = 0.05
HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
VERDICTS = (HOLDS, FAILS, UNDECIDED)
NOTE = (
    "A universe is one value of every choice, and has a cell of either side that differ in the fusion alone. The gain "
    "is the difference of their scores, turned so that more is better, paired by seed; interval and p are those of the "
    "study's report. The claim holds where the gain is above the margin with p < .05, two-sided, and fails where it is "
    "below with p < .05; p is of each universe by itself, as a paper with that universe alone would have had it, and "
    "adjusted is Holm's over all of them. Universes share data and seeds, so their number is no number of "
    "replications. A change is the mean of gain less gain at the value it is against, over the pairs of universes that "
    "differ in this choice alone; its interval, Student's over these pairs, says how far the change differs between "
    "universes, not how far other seeds would move it."
)
CHOSEN = " The side said to be better was chosen by these very gains, which flatters it: name it with better=."


def multiverse(store: Store, *, better: str = "", than: str = "", metric: str = "", by: float = 0.0) -> Report:
    """One claim, "`better` beats `than` by more than `by`", in every universe that the study holds.

    Universes are the values of all keys of the config but the fusion and its options. The table "universes" has one a
    row, the lowest gain first; "choices" has every value of every choice, with what it changes of the gain.

    Args:
        better: a fusion, or the label of a row; "" for the fusion with the best mean gain of those that stand in most
            universes.
        than: the same; "" for `concat_mlp`, or where no row has it for the first fusion of the study.
        metric: the score; "" for the one that ranks the rows of the task.
        by: the margin, 0 or more, in the metric's own units.
    Raises:
        ValueError: no such row or metric, several metrics rank and none is named, both sides one, a margin below 0,
            several rows of a side in one universe, or fewer than two universes that have both sides.
    """
    if not 0 <= by < np.inf:
        raise ValueError(f"multiverse: by={by!r}; expected a margin, 0 or more")
    placed = placed_rows(store, metric)
    rows = [row for row, _ in placed]
    if len(measures := sorted({metric or row.primary for row in rows})) > 1:
        raise ValueError(
            f"multiverse: rows are ranked by several metrics, {', '.join(measures)}; name one with metric="
        )
    (measure,) = measures
    than = than or (BASELINE if any(is_of(row, BASELINE) for row in rows) else rows[0].fusion)
    _check_known("than", than, rows)
    chosen = not better
    better = better or _best(placed, than, measure)
    _check_known("better", better, rows)
    found, halves = universes_of(placed, better, than)
    if len(found) < 2:
        raise ValueError(
            f"multiverse: {len(found)} universe{'s' * (len(found) != 1)} of this study "
            f"{'has' if len(found) == 1 else 'have'} both better={better!r} and than={than!r}, and {halves} one of "
            "them; expected at least 2, cells of both sides at other values of some key (see "
            "configs/ablations/multiverse.py)"
        )
    table = _table(found, measure, by)
    order = {name: list(dict.fromkeys(u.choices[name] for u in found)) for name in found[0].choices}
    choices = _choices(table, order)
    left_out = f" Universes with one side only, or without a score: {halves}." * (halves > 0)
    return Report(
        {"universes": table, "choices": choices},
        _sentence(table, choices, better, than, measure, by),
        {"curve": functools.partial(figure, table, order, measure, by)},
        note=NOTE + CHOSEN * chosen + left_out,
        facts=dict(better=better, than=than, metric=measure, by=by, **_shares(table)),
    )


def _check_known(field: str, side: str, rows: Iterable[Row]) -> None:
    if not any(is_of(row, side) for row in rows):
        there = dict.fromkeys(row.fusion for row in rows)
        raise ValueError(
            f"multiverse: {field}={side!r}, no such row{nearest(side, there)}; there are: {', '.join(there)}"
        )


def _best(placed: list[tuple[Row, dict[str, Any]]], than: str, measure: str) -> str:
    """The fusion with the highest mean gain of those that share most universes with `than`."""
    others = dict.fromkeys(row.fusion for row, _ in placed if not is_of(row, than))
    if not others:
        raise ValueError(f"multiverse: all rows of the study are than={than!r}; expected those of another fusion too")
    found = {}
    for fusion in others:
        universes, _ = universes_of(placed, fusion, than)
        gains = [_gain(u, measure)[1] for u in universes]
        found[fusion] = len(gains), float(np.mean(gains)) if gains else -np.inf
    return max(found, key=lambda fusion: found[fusion])


def _gain(universe: Universe, measure: str) -> tuple[Difference, float, int]:
    """The difference as it is known, its mean turned so that more is better, and the sign that turned it."""
    found, sign = difference(universe.better, universe.than, measure), metrics.sign(measure)
    return found, sign * found.estimate.mean, sign


def _table(universes: list[Universe], measure: str, by: float) -> pd.DataFrame:
    lines = []
    for universe in universes:
        found, gain, sign = _gain(universe, measure)
        low, high = sorted(sign * end for end in found.interval())
        p = found.p(lambda estimate, margin=sign * by: estimate.p(margin))
        verdict = UNDECIDED if not p < LEVEL else HOLDS if gain > by else FAILS
        scores = [float(np.nanmean(row.values[measure])) for row in (universe.better, universe.than)]
        lines.append(
            dict(
                **universe.choices,
                better=scores[0],
                than=scores[1],
                gain=gain,
                low=low,
                high=high,
                p=p,
                verdict=verdict,
                seeds=len(found.seeds),
            )
        )
    table = pd.DataFrame(lines).sort_values("gain", kind="stable", ignore_index=True)
    table.insert(table.columns.get_loc("p") + 1, "adjusted", paired.holm(table.p.to_numpy()))
    return table


def _choices(table: pd.DataFrame, order: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """A row a value of a choice: verdicts, mean gain, and the change of it against the choice's first value."""
    lines = []
    for name, values in order.items():
        rest = [other for other in order if other != name]
        groups = {value: table[table[name] == value] for value in values}
        gains = {value: dict(zip(_keys(group, rest), group.gain, strict=True)) for value, group in groups.items()}
        first = values[0]
        for value in values:
            pairs = [gains[value][key] - gains[first][key] for key in gains[value] if key in gains[first]]
            change = paired.estimate(np.array(pairs if value != first else [], float))
            low, high = change.interval()
            verdicts = {word: int((groups[value].verdict == word).sum()) for word in VERDICTS}
            lines.append(
                dict(choice=name, value=value, universes=len(groups[value]))
                | verdicts
                | dict(gain=groups[value].gain.mean(), against=first if value != first else None)
                | dict(change=change.mean, low=low, high=high, pairs=len(pairs) if value != first else 0)
            )
    return pd.DataFrame(lines)


def _keys(table: pd.DataFrame, names: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(row) for row in table[list(names)].to_numpy()]


def _shares(table: pd.DataFrame) -> dict[str, float]:
    return {word: float((table.verdict == word).mean()) for word in VERDICTS}


def _sentence(table: pd.DataFrame, choices: pd.DataFrame, better: str, than: str, measure: str, by: float) -> str:
    counts, margin = table.verdict.value_counts(), f" by more than {by:g}" * (by > 0)
    said = (
        f"That {better} beats {than}{margin} in {metrics.heading(measure)} holds in {counts.get(HOLDS, 0)} of "
        f"{len(table)} universes, fails in {counts.get(FAILS, 0)} and is undecided in {counts.get(UNDECIDED, 0)}; the "
        f"median gain is {table.gain.median():+.3f} ({table.gain.min():+.3f} to {table.gain.max():+.3f})"
    )
    told = choices[choices.change.notna()]
    if told.empty:
        return f"{said}."
    most = told.loc[told.change.abs().idxmax()]
    return (
        f"{said}, and what moves it most is {most.choice}, by {most.change:+.3f} from {most.against} to {most.value}."
    )
