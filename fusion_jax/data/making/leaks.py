"""Columns of features that tell by themselves what is to be predicted: the label again, or made from it.

Looked at are training rows alone. A column that truly is so good looks the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import scipy.sparse as sp
from scipy.special import gammaln
from scipy.stats import rankdata

from fusion_jax.data.making.report import Conversion, some
from fusion_jax.records import Target

FEW = 20  # rows that tell too little
ROWS = 1000  # of more training rows so many
CHANCE = 1e-3  # that some column tells all classes by chance
NEARLY = 0.999  # AUC, or correlation, of one that is nearly the label
SAME = 5  # rows a value, on average, of a column that codes classes
BLOCK = 1000  # columns at a time


def look(
    features: Mapping[str, np.ndarray | sp.csr_matrix],
    mask: np.ndarray,
    target: Target,
    train: np.ndarray,
    names: Mapping[str, Sequence[str]],
    report: Conversion,
) -> None:
    """Warns of the columns of every modality that tell the target of its training rows.

    Args:
        features: {modality: [N, d]}, NaN where a single value is missing.
        mask: bool [N, M].
        train: row numbers of training rows.
        names: {modality: its columns}.
    """
    wanted = list(_wanted(target))
    total = sum(x.shape[1] for x in features.values())
    if len(train) > ROWS:
        train = np.sort(np.random.default_rng(0).choice(train, ROWS, replace=False))
    for m, (modality, x) in enumerate(features.items()):
        rows, found = train[mask[train, m]], []
        for start in range(0, x.shape[1] if len(rows) >= FEW else 0, BLOCK):
            part = x[rows][:, start : start + BLOCK]
            part = np.asarray(part.todense() if sp.issparse(part) else part, np.float64)
            telling = np.zeros(part.shape[1], bool)
            for what, classes in wanted:
                telling |= (tells_classes if classes else tells_values)(part, what[rows], total)
            found += [names[modality][start + c] for c in np.flatnonzero(telling)]
        if found:
            columns, tell = ("column", "tells") if len(found) == 1 else (f"{len(found)} columns", "tell")
            report.warn(
                f"modality {modality}: {columns} {some(found)} alone {tell} what is to be predicted, in all of "
                f"{len(rows):,} training rows: is it the label, or made from it? (A feature that truly is so good "
                "looks the same.)"
            )
            report.facts.setdefault("telling", {})[modality] = found


def _wanted(target: Target) -> Iterator[tuple[np.ndarray, bool]]:
    """[N] of every target, and whether it is a class."""
    if target.kind == "classes":
        yield np.asarray(target.labels), True
    elif target.kind in ("labels", "values"):
        array = target.labels if target.kind == "labels" else target.values
        for column in np.asarray(array).reshape(len(array), -1).T:
            yield column, target.kind == "labels"
    elif target.kind == "several":
        for part in target.fields.values():
            yield from _wanted(part)


def tells_classes(x: np.ndarray, y: np.ndarray, columns: int) -> np.ndarray:
    """bool [d]: whether a column, or that its value is missing, tells the class of every row.

    It does if the values of every class lie in an interval of its own, or if few values each are of one class; of two
    classes also if its AUC is nearly 1; of more, if it is 1 at one class alone. Not if labels dealt anew would do so
    with probability above `CHANCE` for one of all the columns.

    Args:
        x: [n, d]; rows without a value do not count.
        y: [n], class numbers or bool.
        columns: that are looked at altogether.
    """
    told = np.zeros(x.shape[1], bool)
    missing = np.isnan(x)
    gaps = missing.any(0)
    told[~gaps] = _tells(x[:, ~gaps], y, columns)
    for c in np.flatnonzero(gaps):
        here = ~missing[:, c]
        told[c] = _tells(x[here][:, [c]], y[here], columns)[0] or _tells(missing[:, [c]].astype(float), y, columns)[0]
    return told


def _tells(x: np.ndarray, y: np.ndarray, columns: int) -> np.ndarray:
    kinds, y, sizes = np.unique(y, return_inverse=True, return_counts=True)
    n, classes = len(y), len(kinds)
    if n < FEW or classes < 2 or not x.shape[1]:
        return np.zeros(x.shape[1], bool)
    order = np.argsort(x, axis=0, kind="stable")
    held, of = np.take_along_axis(x, order, 0), y[order]
    change, same = of[1:] != of[:-1], held[1:] == held[:-1]
    pure, runs, values = ~(change & same).any(0), change.sum(0) + 1, (~same).sum(0) + 1
    log_ways = float(gammaln(sizes + 1).sum() - gammaln(n + 1)) + np.log(columns)  # of one way to deal the labels
    apart = (runs == classes) & (log_ways + gammaln(classes + 1) <= np.log(CHANCE))
    coded = (values * SAME <= n) & (log_ways + values * np.log(classes) <= np.log(CHANCE))
    told = pure & (apart | coded)
    if classes == 2:
        ones, zeros = sizes[1], sizes[0]
        area = (rankdata(x, axis=0)[y == 1].sum(0) - ones * (ones + 1) / 2) / (ones * zeros)
        if log_ways + np.log(2) <= np.log(CHANCE):
            told |= np.abs(area - 0.5) >= NEARLY - 0.5
    else:
        for c in range(classes):
            chance = float(gammaln(sizes[c] + 1) + gammaln(n - sizes[c] + 1) - gammaln(n + 1)) + np.log(columns)
            at = (x == x[y == c][0]) == (y == c)[:, None]
            told |= (values == 2) & at.all(0) & (chance + np.log(2 * classes) <= np.log(CHANCE))
    return told


def tells_values(x: np.ndarray, y: np.ndarray, columns: int) -> np.ndarray:
    """bool [d]: whether values to be predicted grow or fall with a column, by the correlation of ranks or values."""
    told = np.zeros(x.shape[1], bool)
    missing = np.isnan(x)
    for c in range(x.shape[1]):
        here = ~missing[:, c]
        if here.sum() >= FEW and len(np.unique(y[here])) > FEW / 2 and len(np.unique(x[here, c])) > FEW / 2:
            for one, other in ((x[here, c], y[here]), (rankdata(x[here, c]), rankdata(y[here]))):
                told[c] |= abs(np.corrcoef(one, other)[0, 1]) >= NEARLY
    return told
