"""Columns that together fit a page: which stand in one table, and where a table goes on in another."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

LINE = 345.0  # points, the narrowest page: LaTeX's article at 10 points
LABEL = 84.0  # points that the labels have at least; their column takes what others leave
SEPARATION = 6.0  # points between two columns
LINES = 42  # of a table and its caption on a page, at the size of \\footnotesize
BOLD = 1.13  # bold by plain digits
_USUAL = 4.3  # points of a digit and of most small letters at \\footnotesize (Computer Modern), rounded up
_OTHER = dict.fromkeys("Mmw@%W", 7.4) | dict.fromkeys("+-=<>×−", 6.8) | {"±": 10.6, " ": 2.9}
_OTHER |= dict.fromkeys(".,:;'|!ijl[]()", 2.5)


@dataclasses.dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        head: what stands over it.
        plain: the texts of its cells, by which its width is estimated.
        made: the same in the form that is written.
        bold: whether some of it is bold.
    """

    head: str
    plain: Sequence[str]
    made: Sequence[str]
    bold: bool = False

    @property
    def width(self) -> float:
        """Points it needs at the size of \\footnotesize."""
        return max(map(width, (self.head, *self.plain))) * (BOLD if self.bold else 1)


def width(text: str) -> float:
    """Points of a text, rather too many than too few."""
    return sum(_OTHER.get(c, 6.2 if c.isupper() else _USUAL) for c in text)


def packed(blocks: Sequence[Sequence[Column]], taken: float, line: float = LINE) -> list[list[Column]]:
    """The columns of the blocks, in their order, for as few tables as hold them.

    Columns of a block stay together where one table can hold them.

    Args:
        taken: points that the columns which stand in every table need.
    """
    tables: list[list[Column]] = [[]]
    room = line - taken
    for block in blocks:
        together = [block] if _total(block) <= room else [[column] for column in block]
        for columns in together:
            if tables[-1] and _total([*tables[-1], *columns]) > room:
                tables.append([])
            tables[-1] += columns
    return tables


def left(columns: Sequence[Column], taken: float, line: float = LINE) -> float:
    """Points of a line that these columns leave."""
    return line - taken - _total(columns)


def _total(columns: Sequence[Column]) -> float:
    return sum(column.width + SEPARATION for column in columns)


def pages(labels: Sequence[str], room: float, lines: int = LINES) -> Iterator[range]:
    """Ranges of rows, each so many that they fit a page when labels are broken into lines of `room` points."""
    first, used = 0, 0
    for i, label in enumerate(labels):
        height = max(1, math.ceil(1.25 * width(label) / room))
        if used + height > lines and i > first:
            yield range(first, i)
            first, used = i, 0
        used += height
    yield range(first, len(labels))
