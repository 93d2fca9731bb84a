"""The grid of a study: variants down, data sets across, their primary metric in the cells, mean ranks at the end.

Of a study on one data set the placements stand across, where there are several.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from fusion_jax import metrics
from fusion_jax.results import across, tables
from fusion_jax.results.rendering import latex as tex_form
from fusion_jax.results.rendering import markdown as md_form
from fusion_jax.results.rendering import table as shared
from fusion_jax.results.rendering.layout import Column
from fusion_jax.results.rendering.table import Table
from fusion_jax.results.rendering.tex_text import tex

PLAIN = ("fusion",)  # roles whose placement is a column of their own, where placements stand across


@dataclasses.dataclass(frozen=True)
class Cell:
    """A text, its place among its column (1, 2 or 0) and its mark against the baseline."""

    text: str = "-"
    place: int = 0
    mark: str = ""


@dataclasses.dataclass(frozen=True)
class Grid:
    """What stands in the grid.

    Attributes:
        metric: in words, of all columns; "" where they differ and their heads say theirs.
        heads: over the columns of the cells.
        names: (variant, placement) of every line; the placement is "" where placements stand across.
        cells: of every line, one a head.
        ranks: of every line its mean rank over the columns, 1 for the best; NaN of a line that lacks a column.
        matrix: [columns, lines that have all of them], their ranks.
        ranked: the number of lines that have all columns.
    """

    metric: str
    heads: Sequence[str]
    names: Sequence[tuple[str, str]]
    cells: Sequence[Sequence[Cell]]
    ranks: Sequence[float]
    matrix: np.ndarray = dataclasses.field(default_factory=lambda: np.empty((0, 0)))

    @property
    def ranked(self) -> int:
        return int(np.isfinite(self.ranks).sum())


def of(made: Sequence[Table], *, percent: bool = False) -> Grid | None:
    """The grid of a study's tables; None where one column would stand in it."""
    columns = [(table, *kind) for table in made for kind in shared.kinds(table.rows) if table.lead]
    if len(columns) == 1:
        return _of_placements(columns[0][0], percent)
    return _of_data(columns, percent) if columns else None


def _cell(table: Table, i: int, percent: bool) -> Cell:
    text = tables.cell_text(table.rows[i], table.lead, percent=percent)
    return Cell(text, table.places[table.lead].get(i, 0), table.mark(table.lead, i))


def _of_data(columns: Sequence[tuple[Table, str, str]], percent: bool) -> Grid:
    found: dict[tuple[str, str], dict[int, Cell]] = {}
    scores: dict[tuple[str, str], dict[int, float]] = {}
    for k, (table, protocol, setting) in enumerate(columns):
        sign = metrics.sign(table.lead)
        for i, row in enumerate(table.rows):
            if row.values and (row.protocol, row.setting) == (protocol, setting):
                name = (row.name, row.placement)
                found.setdefault(name, {})[k] = _cell(table, i, percent)
                scores.setdefault(name, {})[k] = sign * shared.mean(row, table.lead)
    whole, ranks = ranked(scores, len(columns))
    means = dict(zip(whole, ranks.mean(0).tolist(), strict=True))
    every = list(dict.fromkeys(metrics.heading(table.lead) for table, *_ in columns))
    heads = [_head(column, columns, several=len(every) > 1) for column in columns]
    cells = [[line.get(k, Cell()) for k in range(len(columns))] for line in found.values()]
    named = every[0] if len(every) == 1 else ""
    return Grid(named, heads, list(found), cells, [means.get(name, np.nan) for name in found], ranks)


def _head(column: tuple[Table, str, str], columns: Sequence[tuple[Table, str, str]], several: bool) -> str:
    """The data set; with protocol and setting where it has several columns, with the metric where that differs."""
    table, protocol, setting = column
    data = table.rows[0].data
    kinds = [kind for other, *kind in columns if other.rows[0].data == data]
    told = [own for own, every in zip((protocol, setting), zip(*kinds, strict=True), strict=True) if len({*every}) > 1]
    kind = f" [{', '.join(told)}]" if told else ""
    return data + kind + (f": {metrics.heading(table.lead)}" if several else "")


def ranked(scores: Mapping[tuple[str, str], Mapping[int, float]], columns: int) -> tuple[list, np.ndarray]:
    """The names of those that have all columns, and their ranks [columns, names]: 1 the best, equal ones share theirs.

    Args:
        scores: {name: {column: score, larger is better}}.
    """
    whole = [n for n, own in scores.items() if len(own) == columns and np.isfinite(list(own.values())).all()]
    each = np.array([[scores[name][k] for name in whole] for k in range(columns)]).reshape(columns, len(whole))
    return whole, across.rank(each)


def _of_placements(table: Table, percent: bool) -> Grid | None:
    """The grid of one data set; rows without a placement, such as controls, stand in the first column."""
    there = list(dict.fromkeys(row.placement for row in table.rows if row.role in PLAIN and row.values))
    if len(there) < 2:
        return None
    found: dict[tuple[str, str], dict[int, Cell]] = {}
    for i, row in enumerate(table.rows):
        if row.role in PLAIN and row.values:
            found.setdefault((row.name, ""), {})[there.index(row.placement)] = _cell(table, i, percent)
    cells = [[line.get(k, Cell()) for k in range(len(there))] for line in found.values()]
    return Grid(metrics.heading(table.lead), there, list(found), cells, [np.nan] * len(found))


def markdown(grid: Grid) -> str:
    """The grid in Markdown."""
    placed = any(placement for _, placement in grid.names)
    head = ["variant", *["placement"] * placed, *grid.heads, *["mean rank"] * (grid.ranked > 1)]
    lines = ["| " + " | ".join(map(md_form.plain, head)) + " |", "|" + " --- |" * len(head)]
    for (variant, placement), cells, rank in zip(grid.names, grid.cells, grid.ranks, strict=True):
        line = [md_form.plain(variant), *[md_form.plain(placement)] * placed]
        line += [md_form.scored(c.text, c.place, c.mark) for c in cells]
        line += [_rank(rank)] * (grid.ranked > 1)
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join(lines) + "\n"


def latex(grid: Grid) -> str:
    """The grid in LaTeX, as wide as the line."""
    blocks = []
    for k, head in enumerate(grid.heads):
        own = [line[k] for line in grid.cells]
        made = ["--" if c.text == "-" else tex_form.result(c.text, c.place, c.mark) for c in own]
        blocks.append([Column(head, [c.text + c.mark for c in own], made, bold=True)])
    if grid.ranked > 1:
        ranks = [_rank(r).replace("-", "--") for r in grid.ranks]
        blocks.append([Column("mean rank", ranks, ranks)])
    variants, placements = zip(*grid.names, strict=True)
    title = tex(grid.metric[:1].upper() + grid.metric[1:]) if grid.metric else "Primary metrics"
    about = r"Mean $\pm$ sample standard deviation over seeds; best of a column in bold, second underlined; $^{+}$, "
    about += r"$^{-}$: better, worse than the baseline after Holm's correction over a column."
    about += " Rank: mean over the columns." if grid.ranked > 1 else ""
    return tex_form.written(variants, placements, blocks, title, about)


def _rank(rank: float) -> str:
    return f"{rank:.1f}" if np.isfinite(rank) else "-"
