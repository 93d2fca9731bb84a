"""What the page needs of rows to compare any two of them anew: their splits, and the influence of fixed test rows."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusion_jax.results.tables import Row

BUDGET = 4_000_000  # characters of influences in the page; of what is beyond it covariances are kept
MANY = 150  # rows of a group, beyond which the covariances of its primary metric alone are kept


def of_splits(row: Row) -> dict[str, Any]:
    """Training and test rows of every seed, one number where all have as many, and the digests of its splits."""
    return dict(train_rows=_short(row.train_rows), test_rows=_short(row.test_rows), splits=row.splits)


def _short(numbers: Sequence[int]) -> Any:
    return numbers[0] if len(set(numbers)) == 1 else list(numbers)


def of_rows(groups: Sequence[Sequence[Row]]) -> tuple[dict[int, dict[str, Any]], list[dict[str, Any]]]:
    """What is known of fixed test rows: by `id(row)`, and by group.

    Of a row `shared`, which is the same number for rows that have the same test rows; and `influence`, by metric, of
    every seed: as bits where it has two values a seed, which is so of accuracy, else as float64. Where these would not
    find room, its group has covariances of the influences by metric: mean over all seeds, of the rows with the numbers
    `covered` in the group, the lower triangle with its diagonal as float64. They are enough for all pairs, but not
    without one of the seeds.
    """
    kinds: dict[bytes, int] = {}
    known = {id(row): row for group in groups for row in group if row.tested is not None}
    by_row = {key: dict(shared=kinds.setdefault(row.tested.tobytes(), len(kinds))) for key, row in known.items()}
    by_group, room = [], BUDGET
    for group in groups:
        fixed = [row for row in group if row.tested is not None and len(row.tested) > 1]
        found: dict[str, Any] = {}
        for metric in dict.fromkeys(m for row in fixed for m in row.influence):
            having = [row for row in fixed if metric in row.influence and np.isfinite(row.influence[metric]).all()]
            whole = [(row, _encoded(row.influence[metric])) for row in having]
            if (size := sum(len(e["data"]) for _, e in whole)) <= room:
                room -= size
                for row, encoded in whole:
                    by_row[id(row)].setdefault("influence", {})[metric] = encoded
            elif len(having) <= MANY or metric == having[0].primary:
                found[metric] = _covariances(having, metric, group)
        by_group.append(found)
    return by_row, by_group


def _encoded(psi: np.ndarray) -> dict[str, Any]:
    """psi [S, N] as {low, high: of every seed, data: bits} or {data: float64}, base64."""
    low, high = psi.min(1), psi.max(1)
    upper = psi == high[:, None]
    if np.all(upper | (psi == low[:, None])):
        return dict(low=low, high=high, data=_text(np.packbits(upper)))
    return dict(data=_text(psi.astype("<f8")))


def _covariances(rows: Sequence[Row], metric: str, group: Sequence[Row]) -> dict[str, Any]:
    """Of the rows that share their test rows with the first; ddof 1."""
    alike = [row for row in rows if np.array_equal(row.tested, rows[0].tested)]
    table = np.atleast_2d(np.cov([row.influence[metric].mean(0) for row in alike]))
    numbers = {id(row): i for i, row in enumerate(group)}
    return dict(
        covered=[numbers[id(row)] for row in alike], data=_text(table[np.tril_indices(len(alike))].astype("<f8"))
    )


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
