"""What looks like a mistake in a column of classes: numbers meant as values, no label written as one, lone classes."""

from __future__ import annotations

import numpy as np

from fusion_jax.data.making import ids
from fusion_jax.data.making.delimited import COMMA, POINT
from fusion_jax.data.making.headers import is_number
from fusion_jax.data.making.report import Conversion, count, some

MANY = 50  # classes; with fewer than MANY_ROWS nodes a class, whole numbers may be meant as values
MANY_ROWS = 5
UNKNOWN = ("-1", "?", "unknown", "unlabelled", "unlabeled", "not available", "missing")  # commonly no class
SIGNS = {"-1", "1"}  # two classes


def doubt(where: str, names: list[str], sizes: np.ndarray, report: Conversion) -> None:
    """Warns of what the classes of a column look like.

    Args:
        where: file and column.
        names: of the classes, [C].
        sizes: int [C], their labelled nodes.
    """
    labelled = int(sizes.sum())
    whole = all(name.lstrip("-").isdigit() for name in names)
    if whole and len(names) > MANY and labelled < MANY_ROWS * len(names):
        report.warn(
            f"{where} holds {len(names)} different whole numbers, taken for classes; task='values' takes them for "
            "values to be predicted"
        )
    elif len(names) == 1:
        report.warn(f"{where}: all labelled nodes are of one class, {names[0]!r}: there is nothing to tell apart")
    elif lone := [name for name, size in zip(names, sizes, strict=True) if size == 1]:
        report.warn(
            f"{where}: {count(len(lone), 'class', 'classes')} of one labelled node ({some(lone)}): such a node "
            "is in one part of a split only"
        )
    for name, size in zip(names, sizes, strict=True):
        if name.casefold() in UNKNOWN and set(names) != SIGNS:
            report.warn(
                f"{where}: {name!r} is a class like the others, of {count(int(size), 'node')}; if it stands for no "
                "label, leave these cells empty"
            )
    _doubt_numbers(where, names, sizes, labelled, report)
    again = [(name, ids.hint([name], names[:i])) for i, name in enumerate(names)]
    if said := [hint for _, hint in again if hint]:
        report.warn(f"{where}: {count(len(said), 'class', 'classes')} look like others{said[0]}")


def _doubt_numbers(where: str, names: list[str], sizes: np.ndarray, labelled: int, report: Conversion) -> None:
    """Numbers with decimal commas, or with fractions beside a text that is none."""
    numbers = np.array([is_number(name) for name in names])
    fractions = [name for name in names if COMMA.fullmatch(name) or POINT.fullmatch(name)]
    if fractions and sizes[numbers].sum() > labelled / 2 and not all(POINT.fullmatch(f) for f in fractions):
        report.warn(
            f"{where}: {some(fractions)} look like numbers with a decimal comma, and are taken for classes; in a file "
            "that separates its fields by semicolons or tabs they are numbers"
        )
    elif fractions and sizes[numbers].sum() > labelled / 2 and not numbers.all():
        texts = [name for name, number in zip(names, numbers, strict=True) if not number]
        report.warn(
            f"{where}: {some(fractions)} and others are numbers, {some(texts)} is none: taken for classes; leave cells "
            "empty that hold no value, if values are to be predicted"
        )
