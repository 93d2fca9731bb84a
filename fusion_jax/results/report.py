"""Writes the report of a study: its answer in a sentence, its tables in every form, its calibration beside them."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import warnings
from collections.abc import Callable, Mapping, Sequence

from etils import epath

from fusion_jax import folders, metrics
from fusion_jax.results import answer, calibration_study, claims, families, mixture, page, tables
from fusion_jax.results.calibration_study import Calibrated
from fusion_jax.results.claim_record import changes, stated, trained
from fusion_jax.results.compare import BASELINE
from fusion_jax.results.figures import every, image
from fusion_jax.results.rendering import checklist
from fusion_jax.results.rendering import claims as claims_form
from fusion_jax.results.rendering import grid as grids
from fusion_jax.results.rendering import latex as tex_form
from fusion_jax.results.rendering import markdown as md_form
from fusion_jax.results.rendering import table as shared
from fusion_jax.results.rendering.bibliography import bibtex
from fusion_jax.results.rendering.csv import csv
from fusion_jax.results.rendering.json import as_json
from fusion_jax.results.rendering.table import Table, cited, sources, title
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store, write_bytes
from fusion_jax.zoo import nearest

__all__ = ["Made", "cited", "csv", "foot", "latex", "make", "markdown", "sources", "title", "write"]

FOOT = (
    "Mean ± sample standard deviation (ddof 1) over seeds, on test rows. **Bold**: best mean of its column among our "
    "rows of one protocol and setting (all that are equal), _italic_: the second. {marks}{notes}-: undefined, such as "
    "the AUC where a class is absent. Parameters and seconds (training without compilation; of a control, all it does; "
    "of the best of several rows, all of them) are of one seed. {costs}"
)
MARKS = (
    "(+), (-): better, worse than the baseline {names} at the 5 % level, paired by seed, after Holm's correction "
    "over the rows of a column; a row without a mark is not shown to differ. The difference is the row less the "
    "baseline, its 95 % interval is of that row alone ({how}), p is after Holm. "
)
FRONT = " *: no other row of its protocol and setting scores more in the table's first metric at no more of this cost. "
PROGRAM = (
    "FLOPs (of an epoch of one seed) and memory (of the training program: of all seeds, on a CPU of one) are the "
    "compiler's figures; compile s is the time to compile it, near 0 where another row had the same program. "
)
PAGE = "index.html"
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
        grid: variants x data sets in Markdown; "" where one column would stand in it. grid_foot: what its marks mean.
        tables: the long tables in Markdown, and what stands below them.
        json: all that it says, for programs.
        files: the paths of what was written, () where the folder cannot be.
        claims: what the study claimed, answered, in Markdown; "" without claims.
    """

    sentence: str
    grid: str
    tables: str
    json: str
    grid_foot: str = ""
    files: tuple[epath.Path, ...] = ()
    claims: str = ""

    @property
    def text(self) -> str:
        """The whole report, of which line one is the sentence."""
        return "\n".join(part for part in (f"{self.sentence}\n", self.claims, self.grid, self.tables) if part)

    @property
    def brief(self) -> str:
        """The answer, the claims and the grid."""
        return "\n".join(part for part in (f"{self.sentence}\n", self.claims, self.grid, self.grid_foot) if part)

    @property
    def printed(self) -> str:
        """The report for a terminal, which scrolls: all of it, then again what it ends with, the answer, the grid and
        where the page is."""
        page = next((f"page: {os.fspath(path)}" for path in self.files if path.name == PAGE), "")
        names = ", ".join(os.fspath(path.relative_to(self.files[0].parent)) for path in self.files)
        ours = f"written: {os.fspath(self.files[0].parent)}/{names}\n" if self.files else ""
        return "\n".join(part for part in (self.text, ours, self.brief, page) if part).rstrip()


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
        ValueError: no row is named as the baseline.
    """
    found = tables.rows(store)
    if baseline != BASELINE:
        families.check_known(baseline, [row for row in found if not row.published], "baseline")
    made = [shared.of(group, baseline=baseline) for group in tables.grouped(found).values()]
    text = "\n".join(_with_notes(store, table) for table in made) + f"\n{foot(FOOT, made)}\n"
    if any(row.tested is not None for row in found):
        text += f"\n{FIXED_FOOT}\n"
    grid = grids.of(made)
    answered = claims.answer(store, found)
    sentence = answer.sentence(found, baseline=baseline, claims=answered, made=made)
    study = store.read_study()
    said = changes(study, trained(store, study))
    report = Made(
        sentence,
        grids.markdown(grid) if grid else "",
        text,
        as_json(sentence, found, made, answered, stated(study) | dict(changes=said)),
        grid_foot=grids.foot(grid) if grid else "",
        claims=claims_form.render(answered, study, said),
    )
    return report, found, made


def write(store: Store, **options) -> str:
    """Writes the report into the study's folder and returns its Markdown, of which line one is the answer.

    Options and errors as of `written`.
    """
    return written(store, **options).text


def written(
    store: Store,
    *,
    figures: bool | None = False,
    baseline: str = BASELINE,
    metrics: Sequence[str] | None = None,
    percent: bool = False,
) -> Made:
    """Writes the report into the study's folder, and returns what is printed of it.

    report/index.html, table.md, table.tex, table.csv and table.json, references.bib, checklist.md; where there is
    classification calibration.{md,csv}, and calibration.png where a model states an uncertainty and matplotlib is
    installed. Where the folder cannot be written, a warning says so and the report is returned all the same.

    Args:
        figures: whether all figures are drawn, report/figures/*.{pdf,png} and calibration.png; None for those that are
            drawn in a moment, where matplotlib is installed.
        metrics, percent: of the LaTeX tables, see `latex`; of a data set without one of the metrics the others.
    Raises:
        FileNotFoundError: the folder holds no study.
        ValueError: no row has one of the metrics, or is named as the baseline.
        ImportError: `figures` without matplotlib.
    """
    report, found, made = make(store, baseline=baseline)
    study, grid = store.read_study(), grids.of(made, percent=percent)
    _check_metrics(metrics or (), made)
    tex = tex_form.every([_only(table, metrics) for table in made], percent=percent)
    calibrated = calibration_study.collect(store, found)
    files = {
        "answer.md": report.brief.encode(),
        "table.md": report.text.encode(),
        "table.tex": "\n".join([*([grids.latex(grid)] if grid else []), tex]).encode(),
        "table.csv": csv(found, made).encode(),
        "table.json": report.json.encode(),
        PAGE: page.render(store, found, baseline=baseline, sentence=report.sentence),
        "references.bib": bibtex(study, {row.cell: row.task for row in found if row.values and row.cell}).encode(),
        "checklist.md": checklist.markdown(store, study, found, made).encode(),
        **_figures(every.of(store, found, made, calibrated), figures),
        **_calibration(calibrated, bool(figures)),
    }
    try:
        return dataclasses.replace(report, files=_write(store.root / "report", files))
    except OSError as error:  # the folder may be somebody else's, or full: the table is there to be read
        warnings.warn(f"the report is not written: {error}", stacklevel=2)
        return report


def _check_metrics(asked: Sequence[str], made: Sequence[Table]) -> None:
    there = dict.fromkeys(m for table in made for m in table.metrics)
    for metric in asked:
        if metric not in there:
            raise ValueError(f"metrics={metric!r}: no row has it{nearest(metric, there)}; found: {', '.join(there)}")


def _only(table: Table, asked: Sequence[str] | None) -> Table:
    return table.only([m for m in asked or () if m in table.metrics] or None)


def _write(folder: epath.Path, files: Mapping[str, bytes]) -> tuple[epath.Path, ...]:
    folders.made(folder)
    for name, content in files.items():
        folders.made((folder / name).parent)
        write_bytes(folder / name, content)
    return tuple(folder / name for name in files)


def _with_notes(store: Store, table: Table) -> str:
    """A table in Markdown, and what its rows do not have in common."""
    notes = mixture.notes(store, list(table.rows))
    return md_form.render(table) + (f"\n{' '.join(notes)}\n" if notes else "")


def _figures(there: Mapping[str, Callable], figures: bool | None) -> dict[str, bytes]:
    """figures/NAME.{pdf,png}: all, none, or (None) those that are drawn in a moment where matplotlib is installed."""
    if figures is False or (figures is None and importlib.util.find_spec("matplotlib") is None):
        return {}
    draw = {name: d for name, d in there.items() if figures or name in every.CHEAP}
    drawn = {name: figure for name, d in draw.items() if (figure := d()) is not None}
    return {f"figures/{name}.{form}": image(figure, form) for name, figure in drawn.items() for form in ("pdf", "png")}


def _calibration(calibrated: list[Calibrated], figures: bool) -> dict[str, bytes]:
    """calibration.{md,csv} and, if it is to be drawn, calibration.png; nothing without classification."""
    if not calibrated:
        return {}
    rows = [c.row for c in calibrated]
    made = [shared.of(group) for group in tables.grouped(rows).values()]
    text = "\n".join(map(md_form.render, made)) + f"\n{foot(CALIBRATION_FOOT, made).rstrip()}\n"
    files = {"calibration.md": text.encode(), "calibration.csv": csv(rows, made).encode()}
    stated = any("aurc_uncertainty" in row.values for row in rows)
    if figures or (stated and importlib.util.find_spec("matplotlib")):
        files["calibration.png"] = image(calibration_study.figure(calibrated), "png")
    return files


def foot(text: str, made: Sequence[Table]) -> str:
    """What stands below tables, with what their marks, costs and metrics have to say."""
    notes = dict.fromkeys(note for table in made for m in table.metrics if (note := metrics.named(m).note))
    names = shared.against(made)
    how = dict.fromkeys(method for table in made for method in shared.methods(table))
    front = FRONT.lstrip() if any(any(table.front.values()) for table in made) else ""
    program = PROGRAM if any(row.compile_seconds is not None for table in made for row in table.rows) else ""
    return text.format(
        notes="".join(f"{note} " for note in notes),
        marks=MARKS.format(names=names, how="; ".join(how)) if names else "",
        costs=front + program,
    ).rstrip()
