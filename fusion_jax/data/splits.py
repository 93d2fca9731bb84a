"""Split rules: given labels, a seed's training, validation and test rows."""

from __future__ import annotations

import numpy as np

from fusion_jax.data.base import Split, Splits


def per_class(labels: np.ndarray, train: int, val: int | None = None) -> Splits:
    """`train` and `val` labels of every class drawn at random, the rest test.

    Args:
        val: labels a class for validation; None for as many as train. "Two labels a class" with five more to select
            by is a study of seven: what uses all of them beats every row that may not.
    Raises:
        ValueError: a class has too few rows.
    """
    labels = np.asarray(labels)
    val = train if val is None else val

    def draw(seed: int) -> Split:
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

    rule = f"{train} training and {val} validation labels a class, drawn per seed"
    return Splits(draw, fixed=False, rule=rule)


def fractions(labels: np.ndarray, train: float, val: float, *, stratify: bool = True) -> Splits:
    """Shares `train` and `val` of the rows (of every class if `stratify`), the rest test."""
    labels = np.asarray(labels)
    groups = labels if stratify else np.zeros(len(labels), int)

    def draw(seed: int) -> Split:
        rng = np.random.default_rng(seed)
        parts = ([], [], [])
        for c in np.unique(groups):
            rows = rng.permutation(np.flatnonzero(groups == c))
            a, b = round(train * len(rows)), round((train + val) * len(rows))
            for part, chosen in zip(parts, (rows[:a], rows[a:b], rows[b:]), strict=True):
                part.append(chosen)
        return Split(*(np.sort(np.concatenate(p)) for p in parts))

    rule = f"{train:.0%} training, {val:.0%} validation, the rest test, drawn per seed"
    return Splits(draw, fixed=False, rule=rule)


def fixed(train, val, test, rule: str) -> Splits:
    """One published split for all seeds."""
    split = Split(*(np.sort(np.asarray(p, int)) for p in (train, val, test)))
    return Splits(lambda seed: split, fixed=True, rule=rule)


def fixed_test(labels: np.ndarray, train, test, val_fraction: float) -> Splits:
    """A published training / test split; validation is a share of every class's training rows, per seed."""
    labels, train, test = np.asarray(labels), np.asarray(train, int), np.sort(np.asarray(test, int))

    def draw(seed: int) -> Split:
        rng = np.random.default_rng(seed)
        kept, held = [], []
        for c in np.unique(labels[train]):
            rows = rng.permutation(train[labels[train] == c])
            cut = max(1, round(val_fraction * len(rows)))
            held.append(rows[:cut])
            kept.append(rows[cut:])
        return Split(np.sort(np.concatenate(kept)), np.sort(np.concatenate(held)), test)

    rule = f"published test rows; {val_fraction:.0%} of the training rows validate, per seed"
    return Splits(draw, fixed=False, rule=rule)
