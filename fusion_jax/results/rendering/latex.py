r"""Tables in LaTeX that fit a page, for the packages booktabs and tabularx.

A table is as wide as the line; labels take what the other columns leave and are broken there. Columns that do not fit
beside each other stand in a further table, rows that do not fit a page in a continued one. Nothing is too wide from
LaTeX's article on (345 pt); where lines are wider, labels have more room.
"""

from __future__ import annotations

from collections.abc import Sequence

from fusion_jax import metrics
from fusion_jax.results import tables
from fusion_jax.results.rendering import layout
from fusion_jax.results.rendering import table as shared
from fusion_jax.results.rendering.layout import Column
from fusion_jax.results.rendering.markdown import without_result
from fusion_jax.results.rendering.table import COST_HEADS, Table
from fusion_jax.results.rendering.tex_text import breakable, tex

PLACEMENT = 48.0  # points of the placement's column, whose longer texts are broken
MARKS = {"+": "$^{+}$", "-": "$^{-}$", "": ""}


def render(table: Table, *, percent: bool = False) -> str:
    """The table, or as many as its columns and rows need.

    Args:
        percent: whether metrics between 0 and 1 are told in percent.
    """
    group = list(table.rows)
    blocks = [*_scores(table, percent), _difference(table, percent), _by_rows(table), [_seeds(table)], _costs(table)]
    placements = [row.placement for row in group]
    return written(list(shared.labels(group)), placements, [b for b in blocks if b], caption(table, percent))


def written(labels: Sequence[str], placements: Sequence[str], blocks: Sequence[Sequence[Column]], about: str) -> str:
    """Tables of the blocks of columns beside labels and placements, under one caption."""
    placed = max(placements, key=len, default="") not in ("", "-")
    taken = layout.LABEL + placed * (PLACEMENT + layout.SEPARATION)
    found = []
    for columns in layout.packed(blocks, taken):
        room = layout.LABEL + layout.left(columns, taken)
        for rows in layout.pages(labels, room):
            found.append(_one(labels, placements if placed else None, columns, rows, about, continued=bool(found)))
    return "\n".join(found)


def _one(labels, placements, columns: Sequence[Column], rows: range, about: str, continued: bool) -> str:
    spec = r">{\raggedright\arraybackslash}X" + placed_spec(placements) + "r" * len(columns)
    head = ["variant", *(["placement"] if placements else []), *(tex(c.head) for c in columns)]
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\footnotesize",
        rf"\setlength{{\tabcolsep}}{{{layout.SEPARATION / 2:g}pt}}",
        rf"\begin{{tabularx}}{{\linewidth}}{{@{{}}{spec}@{{}}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
    ]
    for i in rows:
        cells = [
            breakable(labels[i]),
            *([breakable(placements[i])] if placements else []),
            *(c.made[i] for c in columns),
        ]
        lines.append(" & ".join(cells) + r" \\")
    text = "Continued." if continued else about
    short = "" if continued else "[]"
    lines += [r"\bottomrule", r"\end{tabularx}", rf"\caption{short}{{\raggedright {text}}}", r"\end{table}", ""]
    return "\n".join(lines)


def placed_spec(placements: Sequence[str] | None) -> str:
    """The column of placements, narrower where all of them are short."""
    if placements is None:
        return ""
    return rf">{{\raggedright\arraybackslash}}p{{{PLACEMENT:g}pt}}"


def result(text: str, place: int, mark: str) -> str:
    """A mean with what is said of it: bold for the best, underlined for the second, a sign against the baseline."""
    around = {1: r"\textbf{%s}", 2: r"\underline{%s}"}.get(place, "%s")
    return around % tex(text) + MARKS[mark]


def _scores(table: Table, percent: bool) -> list[list[Column]]:
    if not table.metrics:
        texts = [_unscored(row, 1)[0] for row in table.rows]
        return [[Column("result", texts, texts)]]
    found = []
    for k, metric in enumerate(table.metrics):
        plain, made = [], []
        for i, row in enumerate(table.rows):
            if row.values or row.published:
                text = tables.cell_text(row, metric, percent=percent)
                plain.append(text + table.mark(metric, i))
                made.append(
                    result("--" if text == "-" else text, table.places[metric].get(i, 0), table.mark(metric, i))
                )
            else:
                plain.append(text := _unscored(row, len(table.metrics))[k])
                made.append(text)
        head = metrics.heading(metric) + (" (%)" if percent and metrics.named(metric).fraction else "")
        found.append([Column(head, plain, made)])
    return found


def _unscored(row, columns: int) -> list[str]:
    if row.values or row.published:
        return ["--"] * columns
    return without_result(row, columns, "--", "failed")


def _difference(table: Table, percent: bool) -> list[Column]:
    if not table.differs:
        return []
    texts = [shared.difference(table, i, percent=percent) for i in range(len(table.rows))]
    head = f"{metrics.heading(table.lead)} − baseline [95 %]" if len(table.metrics) > 1 else "− baseline [95 %]"
    return [_column(head, [difference for difference, _ in texts]), _column("p", [p for _, p in texts])]


def _by_rows(table: Table) -> list[Column]:
    group = list(table.rows)
    if not shared.has_fixed(group):
        return []
    head = (metrics.heading(table.metrics[0]) if table.metrics else "result") + " by rows"
    return [_column(head, [shared.by_rows(row, group) for row in group])]


def _seeds(table: Table) -> Column:
    return _column("seeds", [shared.seeds(row) for row in table.rows])


def _costs(table: Table) -> list[Column]:
    found = []
    for cost in shared.costs(list(table.rows)):
        texts = [shared.cost_text(row, cost) for row in table.rows]
        best = [i in table.front.get(cost, ()) for i in range(len(texts))]
        made = [tex(text) + r"$^{\ast}$" * star for text, star in zip(texts, best, strict=True)]
        found.append(Column(COST_HEADS[cost], [text + "*" for text in texts], made))
    return found


def _column(head: str, texts: Sequence[str]) -> Column:
    return Column(head, texts, ["--" if text in ("-", "--") else tex(text.replace("-", "−")) for text in texts])


def caption(table: Table, percent: bool) -> str:
    """What the table shows, in LaTeX."""
    group = list(table.rows)
    text = breakable(f"{shared.title(group)}. Mean ± sample standard deviation over seeds; ")
    text += "best in bold, second underlined."
    if table.differs:
        names = ", ".join(shared.baselines(table))
        how = "; ".join(shared.methods(table))
        text += rf" $^{{+}}$, $^{{-}}$: better, worse than the baseline ({breakable(names)}) at the 5\,\% level after "
        text += f"Holm's correction over a column ({breakable(how)}); p: so corrected."
    if any(table.front.values()):
        text += r" $^{\ast}$: no other row is better at no more of this cost."
    if shared.sources(group):
        text += " " + shared.cited(group, breakable, "Published", "Calculated")
    return text
