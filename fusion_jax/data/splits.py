"""Split rules: given labels, a seed's training, validation and test rows.

What a rule draws with is a function of this module with its arguments bound, so that it can be pickled.
"""

from __future__ import annotations

import functools

import numpy as np

from fusion_jax.arrays import one_column
from fusion_jax.data._fields import row_numbers
from fusion_jax.data.base import Split, Splits


def groups(labels, rule: str) -> np.ndarray:
    """The labels as [N], one class a row: what a rule draws from class by class.

    Raises:
        ValueError: several columns, or numbers with fractions: a value to be predicted is no class.
    """
    labels = one_column(np.asarray(labels))
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"splits.{rule}: labels have shape {labels.shape}; expected one class a row, [N]")
    if labels.dtype.kind == "f" and not np.all(labels == np.floor(labels)):
        row = int(np.argmax(~(labels == np.floor(labels))))
        expected = "classes: for values use splits.fractions(..., stratify=False)"
        expected = "a class in every row" if np.isnan(labels[row]) else expected
        raise ValueError(
            f"splits.{rule}: labels are continuous (row {row} holds {labels[row]}, {len(np.unique(labels))} different "
            f"values in {len(labels)} rows); expected {expected}"
        )
    return labels


def share(value: float, rule: str, name: str) -> float:
    """A share of the rows. Raises ValueError outside (0, 1)."""
    if not 0 < value < 1:
        raise ValueError(f"splits.{rule}: {name}={value}; expected a share in (0, 1)")
    return float(value)


def per_class(labels: np.ndarray, train: int, val: int | None = None) -> Splits:
    """`train` and `val` labels of every class drawn at random, the rest test.

    Args:
        val: labels a class for validation; None for as many as train. "Two labels a class" with five more to select
            by is a study of seven: what uses all of them beats every row that may not.
    Raises:
        ValueError: a class has too few rows.
    """
    labels = groups(labels, "per_class")
    val = train if val is None else val
    for name, count in (("train", train), ("val", val)):
        if count != int(count) or count < 1:
            raise ValueError(f"splits.per_class: {name}={count}; expected a number of rows, at least 1")
    draw = functools.partial(_draw_per_class, labels, train, val)
    rule = f"{train} training and {val} validation labels a class, drawn per seed"
    return Splits(draw, fixed=False, rule=rule, rows=len(labels))


def _draw_per_class(labels: np.ndarray, train: int, val: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    parts = ([], [], [])
    for c in np.unique(labels):
        rows = order[labels[order] == c]
        if len(rows) < train + val + 1:
            raise ValueError(f"class {c} has {len(rows)} rows, expected at least {train + val + 1}")
        cut = rows[:train], rows[train : train + val], rows[train + val :]
        for part, chosen in zip(parts, cut, strict=True):
            part.append(chosen)
    return Split(*(np.sort(np.concatenate(p)) for p in parts))


def fractions(labels: np.ndarray, train: float, val: float, *, stratify: bool = True) -> Splits:
    """Shares `train` and `val` of the rows (of every class if `stratify`), the rest test.

    Raises:
        ValueError: shares out of range, labels that are no classes; when drawn, classes so small that a part is empty.
    """
    share(share(train, "fractions", "train") + share(val, "fractions", "val"), "fractions", "train + val")
    of = groups(labels, "fractions") if stratify else np.zeros(len(labels), int)
    rule = f"{train:.0%} training, {val:.0%} validation, the rest test, drawn per seed"
    draw = functools.partial(_draw_fractions, of, train, val)
    return Splits(draw, fixed=False, rule=rule, rows=len(of), exchangeable=True)


def _draw_fractions(of: np.ndarray, train: float, val: float, seed: int) -> Split:
    classes, counts = np.unique(of, return_counts=True)
    rng = np.random.default_rng(seed)
    parts = ([], [], [])
    for c in classes:
        rows = rng.permutation(np.flatnonzero(of == c))
        a, b = round(train * len(rows)), round((train + val) * len(rows))
        for part, chosen in zip(parts, (rows[:a], rows[a:b], rows[b:]), strict=True):
            part.append(chosen)
    split = Split(*(np.sort(np.concatenate(p)) for p in parts))
    for name in ("train", "val", "test"):
        if not len(getattr(split, name)):
            raise ValueError(
                f"splits.fractions: the {name} part is empty: {len(of)} rows in {len(classes)} classes of at most "
                f"{counts.max()} rows, shares {train} and {val}; expected more rows a class, or stratify=False"
            )
    return split


def whole_groups(group: np.ndarray, train: float, val: float, *, called: str = "groups") -> Splits:
    """Shares `train` and `val` of the groups, the rest test; all rows of a group are in one part.

    Args:
        group: [N], the group of a row, 0 ... G - 1; below 0 a row is in no part.
        called: what groups are, for the rule's words.
    Raises:
        ValueError: shares out of range; when drawn, so few groups that a part is empty.
    """
    inner = fractions(np.arange(group.max() + 1), train, val, stratify=False)
    rule = f"{train:.0%} of the {called} training, {val:.0%} validation, the rest test, drawn per seed"
    return Splits(functools.partial(_draw_groups, group, inner.draw), fixed=False, rule=rule, rows=len(group))


def _draw_groups(group: np.ndarray, draw, seed: int) -> Split:
    parts = draw(seed)
    return Split(*(np.flatnonzero(np.isin(group, part)) for part in (parts.train, parts.val, parts.test)))


def among(rows: np.ndarray, inner: Splits, count: int) -> Splits:
    """The splits of some of `count` rows: `inner` is of those alone, in the order of `rows`; the others are in no part.

    Args:
        rows: their row numbers, rising.
    """
    draw = functools.partial(_draw_among, np.asarray(rows), inner.draw)
    return Splits(draw, fixed=inner.fixed, rule=inner.rule, rows=count, exchangeable=inner.exchangeable)


def _draw_among(rows: np.ndarray, draw, seed: int) -> Split:
    split = draw(seed)
    return Split(rows[split.train], rows[split.val], rows[split.test])


def fixed(train, val, test, rule: str) -> Splits:
    """One published split for all seeds: row numbers, or three masks over the rows.

    Raises:
        ValueError: neither; names the part.
    """
    masks = np.asarray(train).dtype == bool
    split = Split(*map(np.sort, row_numbers(dict(train=train, val=val, test=test), None, "splits.fixed")))
    draw = functools.partial(_the_one, split)
    return Splits(draw, fixed=True, rule=rule, rows=len(train) if masks else None)


def _the_one(split: Split, seed: int) -> Split:
    del seed
    return split


def fixed_test(labels: np.ndarray, train, test, val_fraction: float) -> Splits:
    """A published training / test split, row numbers or masks; validation is a share of every class's training rows.

    Validation rows are drawn per seed.

    Raises:
        ValueError: labels that are no classes, rows that are neither row numbers nor masks, a share out of range.
    """
    labels, val_fraction = groups(labels, "fixed_test"), share(val_fraction, "fixed_test", "val_fraction")
    train, test = row_numbers(dict(train=train, test=test), len(labels), "splits.fixed_test")
    for name, rows in (("train", train), ("test", test)):
        if rows.size and not 0 <= rows.min() <= rows.max() < len(labels):
            raise ValueError(f"splits.fixed_test: {name} holds rows outside [0, {len(labels)}), the number of labels")
    draw = functools.partial(_draw_validation, labels, train, np.sort(test), val_fraction)
    rule = f"published test rows; {val_fraction:.0%} of the training rows validate, per seed"
    return Splits(draw, fixed=False, rule=rule, rows=len(labels))


def _draw_validation(labels: np.ndarray, train: np.ndarray, test: np.ndarray, val_fraction: float, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    kept, held = [], []
    for c in np.unique(labels[train]):
        rows = rng.permutation(train[labels[train] == c])
        cut = max(1, round(val_fraction * len(rows)))
        held.append(rows[:cut])
        kept.append(rows[cut:])
    return Split(np.sort(np.concatenate(kept)), np.sort(np.concatenate(held)), test)


def fixed_test_groups(group: np.ndarray, train, test, val_fraction: float, *, called: str = "groups") -> Splits:
    """A published training / test split; validation is a share of the training rows' groups, drawn whole per seed.

    For rows that are no independent draws, such as the utterances of a video: none of a group that validates trains.

    Args:
        group: int [N], the group of every row.
        train, test: row numbers or masks; no group has rows in both.
        val_fraction: share of the training groups, of which at least one validates and one trains.
        called: what the groups are, for the report.
    Raises:
        ValueError: a share out of range, rows outside [0, N), a group on both sides, fewer than two training groups.
    """
    group, val_fraction = np.asarray(group), share(val_fraction, "fixed_test_groups", "val_fraction")
    train, test = row_numbers(dict(train=train, test=test), len(group), "splits.fixed_test_groups")
    for name, rows in (("train", train), ("test", test)):
        if rows.size and not 0 <= rows.min() <= rows.max() < len(group):
            raise ValueError(
                f"splits.fixed_test_groups: {name} holds rows outside [0, {len(group)}), the number of rows"
            )
    if (both := np.intersect1d(group[train], group[test])).size:
        raise ValueError(
            f"splits.fixed_test_groups: group {both[0]} has training and test rows; expected every group on one side"
        )
    if (known := len(np.unique(group[train]))) < 2:
        raise ValueError(f"splits.fixed_test_groups: {known} groups train; expected at least 2, one of them validates")
    draw = functools.partial(_draw_validation_groups, group, train, np.sort(test), val_fraction)
    rule = f"published test rows; {val_fraction:.0%} of the training {called} validate, per seed"
    return Splits(draw, fixed=False, rule=rule, rows=len(group))


def _draw_validation_groups(group: np.ndarray, train: np.ndarray, test: np.ndarray, val_fraction: float, seed: int):
    order = np.random.default_rng(seed).permutation(np.unique(group[train]))
    cut = min(max(1, round(val_fraction * len(order))), len(order) - 1)
    held = np.isin(group[train], order[:cut])
    return Split(np.sort(train[~held]), np.sort(train[held]), test)
