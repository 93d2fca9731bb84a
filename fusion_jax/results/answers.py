"""The answer to a question asked of finished results: tables, figures, one sentence; as text, as JSON and as files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from etils import epath

from fusion_jax.results.figures import save_figure
from fusion_jax.results.store import replacing, write_bytes, write_json

SHOWN = 30  # rows of a table on a screen
WRITTEN = 500  # and in a text


@dataclasses.dataclass(frozen=True)
class Report:
    """What an analysis or a merging found.

    Attributes:
        tables: {name: a data frame}, in the order in which they are read.
        sentence: the answer, in one sentence.
        figures: {name: function without arguments that draws it, a matplotlib Figure}.
        columns: {name: {seed: value}}, numbers of the seeds that belong beside their scores.
        note: how the numbers came about, and what they do not say.
        facts: {name: plain value}, what else a program may want to know.
    Raises:
        ValueError: no sentence, several lines of it, or a table or figure whose name is not fit for a file.
    """

    tables: Mapping[str, pd.DataFrame]
    sentence: str
    figures: Mapping[str, Callable[[], Any]] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, Mapping[int, float]] = dataclasses.field(default_factory=dict)
    note: str = ""
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not self.sentence.strip() or "\n" in self.sentence:
            raise ValueError(f"a report answers in one sentence on one line, found {self.sentence!r}")
        for name in (*self.tables, *self.figures):
            if not re.fullmatch(r"[\w-]+", name):
                raise ValueError(f"report: {name!r} names a file, expected letters, digits, '-' and '_'")

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return markdown(self, SHOWN)


def markdown(report: Report, most: int | None = None) -> str:
    """The sentence, every table, and the note.

    Args:
        most: rows of a table; a longer one ends with how many there are in all, and in which file.
    """
    several = len(report.tables) > 1
    parts = [report.sentence]
    for name, table in report.tables.items():
        parts += ([f"## {name}"] if several else []) + [_table(table[:most])]
        if most is not None and len(table) > most:
            parts.append(f"The first {most} of {len(table)} rows; all are in {name}.csv.")
    return "\n\n".join([*parts, *filter(None, [report.note])]) + "\n"


def _table(table: pd.DataFrame) -> str:
    columns = [_column(table[name]) for name in table.columns]
    lines = [list(map(str, table.columns)), ["---"] * len(columns), *zip(*columns, strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _column(values: pd.Series) -> list[str]:
    """Texts: numbers with three digits behind the point but where all are whole, a dash for what is not there."""
    whole = pd.api.types.is_float_dtype(values.dtype) and bool((values.dropna() % 1 == 0).all())
    return [_text(int(v) if whole and not pd.isna(v) else v) for v in values]


def _text(value: Any) -> str:
    if pd.isna(value):
        return "-"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 0.0005 else f"{value:.3f}"
    return str(value).replace("|", "\\|")


def as_json(report: Report) -> dict[str, Any]:
    """The report without its figures, in what JSON has; null for what is not there."""
    rest = dict(sentence=report.sentence, note=report.note, columns=report.columns, facts=report.facts)
    return _plain(dict(rest, tables={name: table.to_dict("records") for name, table in report.tables.items()}))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if pd.isna(value) else value


def write(folder: epath.Path, report: Report, about: Mapping[str, Any], text: str, record: str) -> None:
    """All files of a report, which appear together: a CSV a table, an image a figure, its text and its record.

    Args:
        about: what was asked.
        text: name of the Markdown file.
        record: name of the JSON file, which holds what was asked, the sentence, the note, the columns and the facts.
    Raises:
        ImportError: there are figures, and matplotlib is not installed.
    """
    found = as_json(report)
    rest = {k: found[k] for k in ("sentence", "note", "columns")}
    with replacing(folder) as temporary:
        for name, table in report.tables.items():
            write_bytes(temporary / f"{name}.csv", table.to_csv(index=False).encode())
        for name, draw in report.figures.items():
            save_figure(temporary / f"{name}.png", draw())
        write_bytes(temporary / text, markdown(report, WRITTEN).encode())
        write_json(temporary / record, {**about, **found["facts"], **rest})
