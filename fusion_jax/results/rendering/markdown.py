"""A table in Markdown, that can be read as it is in a terminal too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fusion_jax import metrics
from fusion_jax.results import tables
from fusion_jax.results.rendering import table as shared
from fusion_jax.results.rendering.table import COST_HEADS, Table
from fusion_jax.results.row import UNFINISHED, Row

_MARKUP = re.compile(r"[\\|`*]|<(?=[\w/!?])|(?<!\w)_|_(?!\w)|~(?=~)|\](?=\()")  # a_b and a < b are text, _a_ is not


def plain(text: str) -> str:
    """Text that stays within its cell: one line, no column borders, nothing that is markup."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def scored(text: str, place: int, mark: str) -> str:
    """A mean with what is said of it: bold for the best, italic for the second, (+) or (-) against the baseline."""
    around = {1: "**", 2: "_"}.get(place, "")
    return f"{around}{text}{around}" + (f" ({mark})" if mark else "")


def render(table: Table) -> str:
    """The table below its title, and the sources of the rows that are not run."""
    group = list(table.rows)
    costs = shared.costs(group)
    head = ["variant", "placement", *([metrics.heading(m) for m in table.metrics] or ["result"])]
    head += [f"{head[2]} by rows"] * shared.has_fixed(group)
    head += [f"{metrics.heading(table.lead)} - baseline", "p (Holm)"] if table.differs else []
    head += ["seeds", *(COST_HEADS[c] for c in costs)]
    lines = [f"### {plain(shared.title(group))}", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for i, (row, label) in enumerate(zip(group, shared.labels(group), strict=True)):
        cells = [plain(label), plain(row.placement), *_results(table, i)]
        cells += [shared.by_rows(row, group)] * shared.has_fixed(group)
        cells += shared.difference(table, i) if table.differs else []
        cells += [shared.seeds(row), *(_cost(table, i, c) for c in costs)]
        lines.append("| " + " | ".join(cells) + " |")
    if chosen := [f"{shared.name(r)}: {_values(r.chosen)}" for r in group if r.chosen]:
        lines += ["", f"Chosen by tuning: {'; '.join(map(plain, chosen))}."]
    if shared.sources(group):
        lines += [
            "",
            shared.cited(group, plain, "Published rows are copied, not run", "Known rows are calculated, not run"),
        ]
    return "\n".join(lines) + "\n"


def _values(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in chosen.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _results(table: Table, i: int) -> list[str]:
    row = table.rows[i]
    if not row.values and not row.published:
        return without_result(row, len(table.metrics), "-", f"FAILED: {plain(row.error.partition(chr(10))[0])}")
    cells = [scored(tables.cell_text(row, m), table.places[m].get(i, 0), table.mark(m, i)) for m in table.metrics]
    return cells or ["-"]


def _cost(table: Table, i: int, cost: str) -> str:
    return shared.cost_text(table.rows[i], cost) + " *" * (i in table.front.get(cost, ()))


def without_result(row: Row, columns: int, dash: str, failed: str) -> list[str]:
    """The metric cells of a row that has no values: what became of it, then dashes."""
    return [row.error if row.error == UNFINISHED else failed] + [dash] * (columns - 1)
