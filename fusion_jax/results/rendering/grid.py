"""The grid of a study: variants down, data sets across, their primary metric in the cells, mean ranks at the end.

Of a study on one data set the placements stand across, where there are several. Ranks are over data sets, which are
what is independent: a data set that has several columns, one a protocol and setting, counts once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fusion_jax import metrics
from fusion_jax.results import across, tables
from fusion_jax.results.rendering import latex as tex_form
from fusion_jax.results.rendering import markdown as md_form
from fusion_jax.results.rendering import table as shared
from fusion_jax.results.rendering.layout import Column
from fusion_jax.results.rendering.table import Table
from fusion_jax.results.rendering.tex_text import breakable
from fusion_jax.study import tuning

PLAIN = ("fusion",)  # roles whose placement is a column of their own, where placements stand across
FOOT = (
    "{metric}, mean ± sample standard deviation over {seeds} on test rows. **Bold**: best of {of} (all that "
    "are equal), _italic_: the second."
)
MARKS = (
    " (+), (-): better, worse than the baseline {names} after Holm's correction over all comparisons on a data set; "
    "without a mark: not shown to differ."
)
RANK = " Mean rank: over the data sets{over}, 1 the best, of variants that all of them have."


@dataclasses.dataclass(frozen=True)
class Cell:
    """A text, its place (1 the best, 2 the second, or 0) and its mark against the baseline."""

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
        ranks: of every line its mean rank over the data sets, 1 for the best; NaN of a line that lacks one, and of all
            where it is not clear which column stands for a data set.
        matrix: [data sets, lines that have all of them], their ranks.
        over: which columns the ranks are of, in words; "" where all are.
        of: among what places are: "its column", "the grid".
        data: the only data set, of which placements stand across; "" where data sets do.
        seeds, baselines: in words, of the legend.
        ranked: the number of lines that have a rank.
    """

    metric: str
    heads: Sequence[str]
    names: Sequence[tuple[str, str]]
    cells: Sequence[Sequence[Cell]]
    ranks: Sequence[float]
    matrix: np.ndarray = dataclasses.field(default_factory=lambda: np.empty((0, 0)))
    over: str = ""
    of: str = "its column"
    data: str = ""
    seeds: str = ""
    baselines: str = ""

    @property
    def ranked(self) -> int:
        return int(np.isfinite(self.ranks).sum())


def of(made: Sequence[Table], *, percent: bool = False) -> Grid | None:
    """The grid of a study's tables; None where one column would stand in it."""
    columns = [(table, *kind) for table in made for kind in shared.kinds(table.rows) if table.lead]
    if not columns:
        return None
    grid = _of_data(columns, percent) if len(columns) > 1 else _of_placements(columns[0][0], percent)
    if grid is None:
        return None
    rows = [row for table in made for row in table.rows]
    seeds, baselines, trials = shared.seeds_text(rows), shared.against(made), shared.tuned_alike(rows)
    if not trials:
        return dataclasses.replace(grid, seeds=seeds, baselines=baselines)
    said = tuning.marked("", trials)
    return dataclasses.replace(
        grid,
        names=[(variant.replace(said, ""), placement) for variant, placement in grid.names],
        seeds=f"{seeds}, each row tuned with {trials} trials,",
        baselines=baselines.replace(said, ""),
    )


def _cell(table: Table, i: int, places: Mapping[int, int], percent: bool) -> Cell:
    text = tables.cell_text(table.rows[i], table.lead, percent=percent)
    return Cell(text, places.get(i, 0), table.mark(table.lead, i))


def _of_data(columns: Sequence[tuple[Table, str, str]], percent: bool) -> Grid:
    found: dict[tuple[str, str], dict[int, Cell]] = {}
    scores: dict[tuple[str, str], dict[int, float]] = {}
    for k, (table, protocol, setting) in enumerate(columns):
        sign = metrics.sign(table.lead)
        for i, row in enumerate(table.rows):
            if row.values and (row.protocol, row.setting) == (protocol, setting):
                name = (row.name, row.placement)
                found.setdefault(name, {})[k] = _cell(table, i, table.places[table.lead], percent)
                scores.setdefault(name, {})[k] = sign * shared.mean(row, table.lead)
    blocks = _blocks(columns)
    of_blocks = {name: {b: own[k] for b, k in enumerate(blocks) if k in own} for name, own in scores.items()}
    whole, ranks = ranked(of_blocks, len(blocks)) if blocks else ([], np.empty((0, 0)))
    means = dict(zip(whole, ranks.mean(0).tolist(), strict=True)) if whole else {}
    every = list(dict.fromkeys(metrics.heading(table.lead) for table, *_ in columns))
    heads = [_head(column, columns, several=len(every) > 1) for column in columns]
    cells = [[line.get(k, Cell()) for k in range(len(columns))] for line in found.values()]
    named = every[0] if len(every) == 1 else ""
    means = [means.get(name, np.nan) for name in found]
    over = (
        "" if len(blocks) == len(columns) or not blocks else "protocol {}, setting {}".format(*columns[blocks[0]][1:])
    )
    return Grid(named, heads, list(found), cells, means, ranks, over)


def _blocks(columns: Sequence[tuple[Table, str, str]]) -> list[int]:
    """The column of every data set by which lines are ranked: its only one, or that of the one protocol and setting of
    which every data set has one column; [] where that is not clear, and of one data set."""
    data = [table.rows[0].data for table, *_ in columns]
    if len(set(data)) == len(data):
        return list(range(len(data))) if len(data) > 1 else []
    kinds = dict.fromkeys(tuple(kind) for _, *kind in columns)
    able = [[k for k, (_, *kind) in enumerate(columns) if tuple(kind) == own] for own in kinds]
    able = [own for own in able if sorted(data[k] for k in own) == sorted(set(data))]
    return able[0] if len(able) == 1 and len(able[0]) > 1 else []


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
    """The grid of one data set, of its fusions: rows without a placement, such as controls, are in the long table."""
    there = list(dict.fromkeys(row.placement for row in table.rows if row.role in PLAIN and row.values))
    if len(there) < 2:
        return None
    own = [i for i, row in enumerate(table.rows) if row.role in PLAIN and row.values]
    places = shared.best_two({i: metrics.sign(table.lead) * shared.mean(table.rows[i], table.lead) for i in own})
    found: dict[tuple[str, str], dict[int, Cell]] = {}
    for i in own:
        row = table.rows[i]
        found.setdefault((row.name, ""), {})[there.index(row.placement)] = _cell(table, i, places, percent)
    cells = [[line.get(k, Cell()) for k in range(len(there))] for line in found.values()]
    return Grid(
        metrics.heading(table.lead),
        there,
        list(found),
        cells,
        [np.nan] * len(found),
        of="the grid",
        data=table.rows[0].data,
    )


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


def foot(grid: Grid) -> str:
    """What stands below the grid in Markdown."""
    text = FOOT.format(metric=_title(grid, md_form.plain), seeds=grid.seeds, of=grid.of)
    text += MARKS.format(names=md_form.plain(grid.baselines)) if grid.baselines else ""
    return text + _ranking(grid) + "\n"


def _title(grid: Grid, form: Callable[[str], str]) -> str:
    """What is shown, "Accuracy", and of a grid on one data set where."""
    metric = form(grid.metric or "primary metrics")
    return metric[:1].upper() + metric[1:] + (f" on {form(grid.data)}" if grid.data else "")


def _ranking(grid: Grid) -> str:
    return RANK.format(over=f" ({grid.over})" if grid.over else "") if grid.ranked > 1 else ""


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
    title = _title(grid, breakable)
    about = rf"Mean $\pm$ sample standard deviation over {grid.seeds}; best of {grid.of} in bold, second underlined."
    if grid.baselines:
        about += rf" $^{{+}}$, $^{{-}}$: better, worse than the baseline {breakable(grid.baselines)} after Holm's"
        about += " correction over all comparisons on a data set."
    about += f" {breakable(_ranking(grid))}" if grid.ranked > 1 else ""
    return tex_form.written(variants, placements, blocks, title, about, "grid")


def _rank(rank: float) -> str:
    return f"{rank:.1f}" if np.isfinite(rank) else "-"
