"""What the page needs of rows to compare any two of them anew: their splits, and what their test rows say.

See `results.differences`: on fixed test rows, and on splits with more test than training rows, the variance of a mean
difference has a part by test row.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusion_jax.results import families, influence, sequential
from fusion_jax.results.differences import difference, variance_of
from fusion_jax.results.row import Row

BUDGET = 3_000_000  # characters of influences in the page; of what is beyond it variances of pairs are kept
MANY = 400  # rows of a group, beyond which those of its primary metric alone are kept


def of_splits(row: Row) -> dict[str, Any]:
    """Training and test rows of every seed, one number where all have as many, and the digests of its splits."""
    return dict(train_rows=_short(row.train_rows), test_rows=_short(row.test_rows), splits=row.splits)


def _short(numbers: Sequence[int]) -> Any:
    return numbers[0] if len(set(numbers)) == 1 else list(numbers)


def of_looks(plan: Sequence[int]) -> dict[str, Any]:
    """Where seeds are added until something shows: `alphas` [A], the nominal `levels` [looks, A] at which a look may
    reject with each of them, and the `nominal` level [looks] of .05 (`results.sequential`); {} without looks."""
    if not plan:
        return {}
    limit = max(plan)
    table = np.array([sequential.levels(plan, limit, alpha) for alpha in sequential.ALPHAS]).T
    return dict(plan=list(plan), alphas=sequential.ALPHAS, levels=table, nominal=sequential.levels(plan, limit))


def of_rows(groups: Sequence[Sequence[Row]], baseline: str) -> tuple[dict[int, dict[str, Any]], list[dict[str, Any]]]:
    """What is known by test row: by `id(row)`, and by group.

    Of a row with fixed test rows `shared`, the same number for rows that have the same ones. Of one whose seeds draw
    their own `met`, how many rows some seed of some row of its group tests, and `tests`, the number in the group's list
    of bits [S, met] that say which ones each seed tests. Of both `influence`, by metric, of every seed: as bits where
    it has two values a seed, which is so of accuracy, else as float64. Where these would not find room the group has by
    metric the variances of pairs (`_variances`): enough to choose any baseline, but they are of all seeds.
    """
    kinds: dict[bytes, int] = {}
    known = {id(row): row for group in groups for row in group if row.tested is not None}
    by_row = {key: dict(shared=kinds.setdefault(row.tested.tobytes(), len(kinds))) for key, row in known.items()}
    by_group, room = [], BUDGET
    for group in groups:
        variances: dict[str, Any] = {}
        drawn, bits = [row for row in group if row.met_influence], {}
        every = np.unique(np.concatenate([row.met for row in drawn])) if drawn else np.array([], int)
        for metric in dict.fromkeys(m for row in group for m in (*row.influence, *row.met_influence)):
            if (whole := _within(room, group, metric, every)) is not None:
                room -= sum(len(encoded["data"]) for encoded in whole.values())
                for key, encoded in whole.items():
                    by_row.setdefault(key, {}).setdefault("influence", {})[metric] = encoded
            elif len(group) <= MANY or metric == group[0].primary:
                variances[metric] = _variances(group, metric, baseline)
        for row in drawn:
            if id(row) in by_row:
                place = bits.setdefault(_text(np.packbits(_tests(row, every))), len(bits))
                by_row[id(row)] |= dict(met=len(every), tests=place)
        by_group.append(dict(by_row=variances, tests=list(bits)))
    return by_row, by_group


def _within(room: int, group: Sequence[Row], metric: str, every: np.ndarray) -> dict[int, dict[str, Any]] | None:
    """By `id(row)` the influences on a metric, encoded; None where they take more than `room` characters."""
    found: dict[int, dict[str, Any]] = {}
    for row in group:
        if metric in row.influence and len(row.tested) > 1:
            found[id(row)] = _encoded(row.influence[metric])
        elif metric in row.met_influence:
            found[id(row)] = _encoded(_laid(row.met_influence[metric], row, every))
        else:
            continue
        room -= len(found[id(row)]["data"])
        if room < 0:
            return None
    return found


def _laid(psi: np.ndarray, row: Row, every: np.ndarray) -> np.ndarray:
    """psi [S, M] of a row whose seeds draw their test rows, at the places that `every` one of the group gives them."""
    laid = np.full((len(psi), len(every)), np.nan)
    laid[:, np.searchsorted(every, row.met)] = psi
    return laid


def _tests(row: Row, every: np.ndarray) -> np.ndarray:
    """Which of the rows each seed tests, bool [S, M]."""
    return np.any([~np.isnan(_laid(psi, row, every)) for psi in row.met_influence.values()], 0)


def _encoded(psi: np.ndarray) -> dict[str, Any]:
    """psi [S, N], NaN of rows that a seed does not test, as {low, high: of every seed, data: bits} or {data: float64},
    base64."""
    low, high = (extreme.reduce(psi, 1) for extreme in (np.fmin, np.fmax))
    upper = psi == high[:, None]
    if np.all(upper | (psi == low[:, None]) | np.isnan(psi)):
        return dict(low=low, high=high, data=_text(np.packbits(upper)))
    return dict(data=_text(psi.astype("<f8")))


def _variances(group: Sequence[Row], metric: str, baseline: str) -> dict[str, Any]:
    """The part by test row of the variance of the mean difference of pairs, over all of their common seeds.

    `data` holds those of all pairs of the rows with the numbers `covered`, which have the same test rows and seeds, and
    so one matrix: the lower triangle without its diagonal, as float64; `rows` how many test rows they have. `pairs`
    holds [number, number of its baseline, variance, test rows] of the other rows.
    """
    numbers = {id(row): i for i, row in enumerate(group)}
    able = [row for row in group if metric in row.influence or metric in row.met_influence]
    named = families.baselines([row for row in group if not row.published], baseline, metric)
    kinds: dict[Any, list[Row]] = {}
    for row in able:
        at = row.met if row.tested is None else row.tested
        if np.isfinite(row.values[metric]).all():
            kinds.setdefault((row.tested is None, row.seeds, at.tobytes()), []).append(row)
    alike = max(kinds.values(), key=len, default=[])
    table, rows = _matrix(alike, metric) if alike else (np.empty((0, 0)), 0)
    inside, pairs = {id(row) for row in alike}, []
    for row in able if named else ():
        base = families.baseline_of(row, named)
        if row is not base and not {id(row), id(base)} <= inside:
            variance = variance_of(row, base, metric, difference(row, base, metric).seeds)
            pairs += [[numbers[id(row)], numbers[id(base)], variance.by_row, variance.rows]] if variance.rows else []
    lower = table[np.tril_indices(len(alike), -1)].astype("<f8")
    return dict(covered=[numbers[id(row)] for row in alike], data=_text(lower), rows=rows, pairs=pairs)


def _matrix(rows: Sequence[Row], metric: str) -> tuple[np.ndarray, int]:
    """[R, R] variances by test row of all pairs of rows with the same test rows and seeds, and how many these are.

    A variance of a - b is quadratic: Q(a - b) = Q(a, a) + Q(b, b) - 2 Q(a, b), for each of `differences.crossed`'s two.
    """
    if rows[0].tested is None:
        psi = np.stack([influence.over_seeds(row.met_influence[metric]) for row in rows])
        return _of_differences(np.cov(psi)) / psi.shape[1], psi.shape[1]
    psi = np.stack([row.influence[metric] for row in rows])  # [R, S, N]
    _, seeds, n = psi.shape
    table = _of_differences(np.cov(psi.mean(1)))
    if seeds > 1:
        left = psi - psi.mean(1, keepdims=True) - psi.mean(2, keepdims=True) + psi.mean((1, 2), keepdims=True)
        flat = left.reshape(len(rows), -1)
        table = np.maximum(0, table - _of_differences(flat @ flat.T) / ((seeds - 1) * (n - 1)) / seeds)
    return table / n, n


def _of_differences(products: np.ndarray) -> np.ndarray:
    products = np.atleast_2d(products)
    own = np.diag(products)
    return own[:, None] + own[None, :] - 2 * products


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
