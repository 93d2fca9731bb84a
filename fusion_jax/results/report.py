"""Writes the report of a study: its answer in a sentence, its tables in every form, its calibration beside them."""

from __future__ import annotations

import dataclasses
import importlib.util
import warnings
from collections.abc import Sequence

from fusion_jax import metrics
from fusion_jax.results import answer, calibration_study, mixture, tables
from fusion_jax.results.compare import BASELINE
from fusion_jax.results.figures import save_figure
from fusion_jax.results.rendering import grid as grids
from fusion_jax.results.rendering import latex as tex_form
from fusion_jax.results.rendering import markdown as md_form
from fusion_jax.results.rendering import table as shared
from fusion_jax.results.rendering.csv import csv
from fusion_jax.results.rendering.json import as_json
from fusion_jax.results.rendering.table import Table, cited, sources, title
from fusion_jax.results.store import Store, write_bytes
from fusion_jax.results.tables import Row

__all__ = ["Made", "cited", "csv", "foot", "latex", "make", "markdown", "sources", "title", "write"]

FOOT = (
    "Mean ± sample standard deviation (ddof 1) over seeds, on test rows. **Bold**: best mean of its column among our "
    "rows of one protocol and setting, _italic_: the second. {marks}{notes}-: undefined, such as the AUC where a class "
    "is absent. Parameters and seconds (training without compilation; of a control, all it does; of the best of "
    "several rows, all of them) are of one seed. {costs}"
)
MARKS = (
    "(+), (-): better, worse than the baseline {names} at the 5 % level, paired by seed ({how}), after Holm's "
    "correction over the rows of a column; a row without a mark is not shown to differ. The difference is the row less "
    "the baseline, its 95 % interval is of that row alone, p is after Holm. "
)
FRONT = " *: no other row of its protocol and setting scores more in the table's first metric at no more of this cost. "
PROGRAM = (
    "FLOPs (of an epoch) and memory are the compiler's figures for the training program, which trains all seeds; "
    "compile s is the time to compile it. "
)
FIXED_FOOT = (
    "Where all seeds of a row have the same test rows, the spread over seeds is of training alone, and a row without "
    "± is one fit, the same for every seed, or has one seed. How far another draw of test rows would move the first "
    'metric stands in the column "by rows" (number of rows; 95 % interval: for accuracy Wilson\'s, of the mean over '
    "seeds; for others from the influence of each row)."
)
CALIBRATION_FOOT = (
    "Mean ± sample standard deviation (ddof 1) over seeds, on test rows; less is better, marks as in table.md. {notes}"
)


@dataclasses.dataclass(frozen=True)
class Made:
    """The report of a study as it is printed.

    Attributes:
        sentence: the answer.
        grid: variants x data sets in Markdown; "" where one column would stand in it.
        tables: the long tables in Markdown, and what stands below them.
    """

    sentence: str
    grid: str
    tables: str

    @property
    def text(self) -> str:
        """The whole report, of which line one is the sentence."""
        return "\n".join(part for part in (f"{self.sentence}\n", self.grid, self.tables) if part)


def markdown(group: list[Row], **options) -> str:
    """One table in Markdown. Options as of `rendering.table.of`."""
    return md_form.render(shared.of(group, **options))


def latex(
    group: list[Row], *, metrics: Sequence[str] | None = None, percent: bool = False, baseline: str = BASELINE
) -> str:
    """One table in LaTeX that fits a page, for the packages booktabs and tabularx.

    Args:
        metrics: those shown; by default the one that ranks.
        percent: whether metrics between 0 and 1 are told in percent.
    Raises:
        ValueError: no row has one of the metrics.
    """
    return tex_form.render(shared.of(group, baseline=baseline).only(metrics), percent=percent)


def make(store: Store, *, baseline: str = BASELINE) -> tuple[Made, list[Row], list[Table]]:
    """The report of a study with the rows and tables that it is made of; nothing is written.

    Raises:
        FileNotFoundError: the folder holds no study.
    """
    found = tables.rows(store)
    made = [shared.of(group, baseline=baseline) for group in tables.grouped(found).values()]
    text = "\n".join(_with_notes(store, table) for table in made) + f"\n{foot(FOOT, made)}\n"
    if any(row.tested is not None for row in found):
        text += f"\n{FIXED_FOOT}\n"
    grid = grids.of(made)
    return Made(answer.sentence(found, made=made), grids.markdown(grid) if grid else "", text), found, made


def write(
    store: Store,
    *,
    figures: bool = False,
    baseline: str = BASELINE,
    metrics: Sequence[str] | None = None,
    percent: bool = False,
) -> str:
    """Writes the report into the study's folder and returns its Markdown, of which line one is the answer.

    report/table.md, table.tex, table.csv and table.json; where there is classification calibration.{md,csv}, and
    calibration.png where a model states an uncertainty and matplotlib is installed, or with `figures`. Where the folder
    cannot be written, a warning says so and the Markdown is returned all the same.

    Args:
        metrics, percent: of the LaTeX tables, see `latex`.
    Raises:
        FileNotFoundError: the folder holds no study.
        ValueError: no row has one of the metrics.
        ImportError: `figures` without matplotlib.
    """
    return written(store, figures=figures, baseline=baseline, metrics=metrics, percent=percent).text


def written(store: Store, *, figures: bool = False, baseline: str = BASELINE, metrics=None, percent=False) -> Made:
    """As `write`; returns the parts."""
    report, found, made = make(store, baseline=baseline)
    folder = store.root / "report"
    tex = [tex_form.render(table.only(metrics), percent=percent) for table in made]
    grid = grids.of(made, percent=percent)
    tex = ([grids.latex(grid)] if grid else []) + tex
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "table.md", report.text.encode())
        write_bytes(folder / "table.tex", "\n".join(tex).encode())
        write_bytes(folder / "table.csv", csv(found, made).encode())
        write_bytes(folder / "table.json", as_json(report.sentence, found, made).encode())
        write_calibration(store, found, figures)
    except OSError as error:  # the folder may be somebody else's, or full: the table is there to be read
        warnings.warn(f"the report is not written: {error}", stacklevel=2)
    return report


def _with_notes(store: Store, table: Table) -> str:
    """A table in Markdown, and what its rows do not have in common."""
    notes = mixture.notes(store, list(table.rows))
    return md_form.render(table) + (f"\n{' '.join(notes)}\n" if notes else "")


def write_calibration(store: Store, found: list[Row], figures: bool) -> None:
    """Writes report/calibration.{md,csv} and, if it is to be drawn, calibration.png; nothing without classification."""
    calibrated = calibration_study.collect(store, found)
    if not calibrated:
        return
    folder, rows = store.root / "report", [c.row for c in calibrated]
    made = [shared.of(group) for group in tables.grouped(rows).values()]
    text = "\n".join(map(md_form.render, made)) + f"\n{foot(CALIBRATION_FOOT, made).rstrip()}\n"
    write_bytes(folder / "calibration.md", text.encode())
    write_bytes(folder / "calibration.csv", csv(rows, made).encode())
    stated = any("aurc_uncertainty" in row.values for row in rows)
    if figures or (stated and importlib.util.find_spec("matplotlib")):
        save_figure(folder / "calibration.png", calibration_study.figure(calibrated))


def foot(text: str, made: Sequence[Table]) -> str:
    """What stands below tables, with what their marks, costs and metrics have to say."""
    notes = dict.fromkeys(note for table in made for m in table.metrics if (note := metrics.named(m).note))
    names = dict.fromkeys(name for table in made for name in shared.baselines(table))
    how = dict.fromkeys(method for table in made for method in shared.methods(table))
    front = FRONT.lstrip() if any(any(table.front.values()) for table in made) else ""
    program = PROGRAM if any(row.compile_seconds is not None for table in made for row in table.rows) else ""
    return text.format(
        notes="".join(f"{note} " for note in notes),
        marks=MARKS.format(names=", ".join(names), how="; ".join(how)) if names else "",
        costs=front + program,
    ).rstrip()
