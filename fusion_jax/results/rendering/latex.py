r"""Tables in LaTeX that fit a page, for the packages booktabs and tabularx.

A table is as wide as the line; labels take what the other columns leave and are broken there. Columns that do not fit
beside each other stand in a further table, rows that do not fit a page in a continued one. Nothing is too wide from
LaTeX's article on (345 pt); where lines are wider, labels have more room. Every table has a \label{tab:...}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from fusion_jax import metrics
from fusion_jax.results import tables
from fusion_jax.results.rendering import layout
from fusion_jax.results.rendering import table as shared
from fusion_jax.results.rendering.layout import Column
from fusion_jax.results.rendering.markdown import without_result
from fusion_jax.results.rendering.table import COST_HEADS, Table
from fusion_jax.results.rendering.tex_text import breakable, tex

BROKEN = r">{\raggedright\arraybackslash}"  # before a column whose texts are broken
HEADS = COST_HEADS | dict(parameters="params", seconds="s", compile_seconds="comp. s")
MARKS = {"+": "$^{+}$", "-": "$^{-}$", "": ""}


def every(made: Sequence[Table], *, percent: bool = False) -> str:
    """All tables of a study. What their marks mean is said once: other captions refer to the table that says it."""
    found, keys, said = [], [], {}
    for table in made:
        keys.append(_key(table, keys))
        first = said.setdefault(legend(table), keys[-1])
        found.append(render(table, percent=percent, key=keys[-1], like="" if first == keys[-1] else first))
    return "\n".join(found)


def _key(table: Table, taken: Sequence[str]) -> str:
    """What is behind "tab:" in a table's label: its data set's name, with a number where others have the same."""
    name = re.sub(r"[^a-z0-9]+", "-", table.rows[0].data.lower()).strip("-") or "results"
    again = (f"{name}-{k}" for k in range(2, len(taken) + 3))
    return next(key for key in (name, *again) if key not in (*taken, "grid"))


def render(table: Table, *, percent: bool = False, key: str = "", like: str = "") -> str:
    """The table, or as many as its columns and rows need.

    Args:
        percent: whether metrics between 0 and 1 are told in percent.
        key: \\label{tab:KEY}, and KEY:2, KEY:3, ... of what it is continued in; "" for the data set's name.
        like: key of the table whose caption says what the marks mean, "" for this one's.
    """
    group = list(table.rows)
    costs = [_seeds(table), *_costs(table)]
    blocks = [*_scores(table, percent), _difference(table, percent), _by_rows(table), costs]
    placements = [row.placement for row in group]
    title = breakable(shared.title(group))
    blocks = [block for block in blocks if block]
    about, key = caption(table, like), key or _key(table, ())
    return written(list(shared.labels(group)), placements, blocks, title, about, key)


def written(
    labels: Sequence[str],
    placements: Sequence[str],
    blocks: Sequence[Sequence[Column]],
    title: str,
    about: str,
    key: str,
) -> str:
    """Tables of the blocks of columns beside labels and placements, under one title, with labels of that key."""
    if not any(set(placements) - {"", "-"}):
        placements = ()
    words = [word for text in ("placement", *placements) for word in text.split()]
    place = max(map(layout.width, words)) if placements else 0.0  # points; longer texts are broken
    taken = layout.LABEL + bool(placements) * (place + layout.SEPARATION)
    found = []
    for columns in layout.packed(blocks, taken):
        for rows in layout.pages(labels, layout.LABEL + layout.left(columns, taken)):
            caption = f"{title} (continued)." if found else f"{title}. {about}"
            own = f"{key}:{len(found) + 1}" if found else key
            found.append(_one(labels, placements, place, columns, rows, caption, own))
    return "\n".join(found)


def _one(
    labels: Sequence[str],
    placements: Sequence[str],
    place: float,
    columns: Sequence[Column],
    rows: range,
    caption: str,
    key: str,
) -> str:
    spec = [BROKEN + "X", *([f"{BROKEN}p{{{place:.0f}pt}}"] if placements else []), "r" * len(columns)]
    head = ["variant", *(["placement"] if placements else []), *(tex(c.head) for c in columns)]
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\footnotesize",
        rf"\setlength{{\tabcolsep}}{{{layout.SEPARATION / 2:g}pt}}",
        rf"\begin{{tabularx}}{{\linewidth}}{{@{{}}{''.join(spec)}@{{}}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
    ]
    for i in rows:
        named = [breakable(labels[i]), *([_dashed(placements[i], breakable)] if placements else [])]
        lines.append(" & ".join([*named, *(c.made[i] for c in columns)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabularx}", rf"\caption[]{{\raggedright {caption}}}"]
    return "\n".join([*lines, rf"\label{{tab:{key}}}", r"\end{table}", ""])


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
        found.append([Column(head, plain, made, bold=True)])
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
        made = [_dashed(text) + r"$^{\ast}$" * star for text, star in zip(texts, best, strict=True)]
        found.append(Column(HEADS[cost], [text + "*" for text in texts], made))
    return found


def _column(head: str, texts: Sequence[str]) -> Column:
    return Column(head, texts, [_dashed(text.replace("-", "−")) for text in texts])


def _dashed(text: str, form: Callable[[str], str] = tex) -> str:
    """A text in LaTeX; a dash where it is one, which stands for nothing."""
    return "--" if text in ("-", "−") else form(text)


def legend(table: Table) -> str:
    """What the marks of a table mean, in LaTeX: the same of every table that has the same kinds of them."""
    text = r"Mean $\pm$ sample standard deviation over seeds; best in bold, second underlined."
    if table.differs:
        text += r" $^{+}$, $^{-}$: better, worse than the baseline at the 5\,\% level after Holm's correction over a "
        text += "metric's comparisons on the data set; p: so corrected; intervals are not."
    if any(table.front.values()):
        text += r" $^{\ast}$: no other row is better at no more of this cost."
    return text


def caption(table: Table, like: str = "") -> str:
    """What the table says of its numbers, in LaTeX.

    Args:
        like: key of the table that says what the marks mean, if another does.
    """
    group = list(table.rows)
    parts = [rf"Marks as in Table~\ref{{tab:{like}}}." if like else legend(table)]
    about = [shared.seeds_text(group)]
    if table.differs:
        about += [
            f"baseline {breakable(shared.against([table]))}",
            f"test: {breakable('; '.join(shared.methods(table)))}",
        ]
    if about := "; ".join(filter(None, about)):
        parts.append(about[:1].upper() + about[1:] + ".")
    if shared.sources(group):
        parts.append(shared.cited(group, breakable, "Published", "Calculated"))
    return " ".join(parts)
