"""A finished study, or one that runs: its answer, tables, comparisons, page, rows and models."""

from __future__ import annotations

import functools
import html
import os
import pathlib
import webbrowser
from collections.abc import Mapping
from typing import Any

import pandas as pd

from fusion_jax import folders, zoo
from fusion_jax.analysis import Report, analyse, subject
from fusion_jax.api import frames
from fusion_jax.api.variant import SeedModel, Variant
from fusion_jax.data import Dataset
from fusion_jax.results import claims, compare, report
from fusion_jax.results.calibration_study import collect
from fusion_jax.results.compare import BASELINE
from fusion_jax.results.figures import every
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store


def load_study(
    workdir: str | os.PathLike, *, baseline: str = BASELINE, data: Dataset | Mapping[str, Dataset] | None = None
) -> Study:
    """The study of a results folder.

    Args:
        baseline: the label that rows are compared with.
        data: the data set, or {name: data set}, of a study of data in memory: for its models, where the folder does
            not hold them.
    Raises:
        FileNotFoundError: the folder holds no study.
        ValueError: no row is named as the baseline.
    """
    given = {} if data is None else {data.name: data} if isinstance(data, Dataset) else dict(data)
    named = {name if name.startswith(zoo.MEMORY) else f"{zoo.MEMORY}{name}": held for name, held in given.items()}
    Store(workdir).read_study()
    return Study(workdir, baseline=baseline, datasets=named)


class Study:
    """A study as it stands in its folder; what is asked twice is read once.

    Attributes:
        workdir: the results folder.
        baseline: the label that rows are compared with.
    """

    def __init__(
        self, workdir: str | os.PathLike, *, baseline: str = BASELINE, datasets: Mapping[str, Dataset] | None = None
    ):
        self.store, self.baseline = Store(workdir), baseline
        self.workdir = pathlib.Path(os.path.abspath(folders.expand(workdir)))
        self.datasets = dict(datasets or {})

    @functools.cached_property
    def _made(self):
        """The report, the rows and the tables."""
        return report.make(self.store, baseline=self.baseline)

    @property
    def answer(self) -> str:
        """The study's result in one sentence."""
        return self._made[0].sentence

    @property
    def rows(self) -> list[Row]:
        """Every row in the order of the study, those that failed among them."""
        return self._made[1]

    @property
    def metric(self) -> str:
        """The one that ranks: of the first row that has values."""
        return next((row.primary for row in self.rows if row.values), "accuracy")

    def table(self) -> pd.DataFrame:
        """A line a row: of every metric mean and sample standard deviation over seeds, on test rows."""
        return frames.table(self.rows)

    def compare(self, baseline: str | None = None, metric: str | None = None, *, pairs: bool = False) -> pd.DataFrame:
        """Every row against the baseline: difference, 95 % interval, p before and after Holm's correction.

        Args:
            baseline: a label, or "label, placement"; the study's own if None.
            metric: the one that ranks if None.
            pairs: every row against every later one instead, corrected over all pairs.
        Raises:
            ValueError: no row of that name, or none has the metric; names the nearest.
        """
        metric = metric or self.metric
        known = sorted({m for row in self.rows for m in row.values})
        if metric not in known:
            raise ValueError(f"no row has the metric {metric!r}{zoo.nearest(metric, known)}; there are: {known}")
        if pairs:
            return frames.compared(compare.pairs(self.rows, metric))
        return frames.compared(compare.against(self.rows, metric, baseline or self.baseline))

    def claims(self) -> pd.DataFrame:
        """A line a claim of the study: whether it holds, fails or is undecided, the evidence, how many more seeds."""
        columns = ("text", "verdict", "evidence", "adjusted", "more_seeds", "late")
        found = claims.answer(self.store, self.rows)
        return pd.DataFrame([[getattr(one, name) for name in columns] for one in found], columns=columns)

    def figures(self) -> dict[str, Any]:
        """The figures of the report that the study has something for, drawn: differences, learning curves, cost, ...

        Raises:
            ImportError: matplotlib is not installed.
        """
        _, rows, made = self._made
        drawn = {name: draw() for name, draw in every.of(self.store, rows, made, collect(self.store, rows)).items()}
        return {name: figure for name, figure in drawn.items() if figure is not None}

    def page(self, open: bool = False) -> pathlib.Path:
        """Writes the report of the study as it is now, and says where its page is: one HTML file, without network.

        Args:
            open: whether to show it in a browser.
        Raises:
            OSError: the folder cannot be written.
        """
        written = report.written(self.store, baseline=self.baseline)
        if not written.files:
            raise OSError(f"the report cannot be written to {os.fspath(self.store.root / 'report')!r}")
        found = self.workdir / "report" / report.PAGE
        if open:
            webbrowser.open(found.as_uri())
        return found

    def cells(self) -> list[Variant]:
        """The rows that are one cell's, in the order of the study."""
        return [Variant(self.store, row, self.datasets) for row in self.rows if row.cell or row.error]

    def cell(self, fusion: str, placement: str | None = None, data: str | None = None) -> Variant:
        """The row of a fusion (or of any label), placed so, on that data set.

        Raises:
            ValueError: there is none, or there are several; names the nearest, or lists them.
        """
        named = [v for v in self.cells() if fusion in v.names]
        if not named:
            known = sorted({name for v in self.cells() for name in v.names})
            raise ValueError(f"no row {fusion!r}{zoo.nearest(fusion, known)}; there are: {', '.join(known)}")
        found = [v for v in named if placement in (None, v.placement) and data in (None, v.data)]
        if len(found) != 1:
            listed = "; ".join(f"{v.label}, {v.placement}, {v.data}" for v in found or named)
            asked = ", ".join(part for part in (fusion, placement, data) if part)
            what = f"{asked!r} is the name of {len(found)} rows" if found else f"no row {asked!r}"
            raise ValueError(f"{what}; there are: {listed}")
        return found[0]

    def model(self, seed: int | None = None) -> SeedModel:
        """The model of the fusion with the best mean validation score (test rows are not looked at).

        Args:
            seed: the one with the best validation score if None.
        Raises:
            ValueError: no row of a fusion is finished.
        """
        able = [v for v in self.cells() if v.row.values and v.row.role == "fusion"]
        if not able:
            raise ValueError(f"{self.workdir}: no row of a fusion is finished")
        return max(able, key=Variant.validation_score).model(seed)

    def analyse(self, name: str, **options: Any) -> Report:
        """What an analysis of a study finds: its sentence, tables and figures, also written into the study's folder.

        Raises:
            ValueError: unknown analysis or option, one of a cell (ask `cell(...).analyse`), or what it refuses.
        """
        if subject(name) == "cell":
            raise ValueError(f"analysis {name!r} is of a cell: study.cell(...).analyse({name!r})")
        return analyse(self.store, name, options)[0]

    def __repr__(self) -> str:
        return f"{self.answer}\n{len(self.rows)} rows in {self.workdir}"

    def _repr_html_(self) -> str:
        said = html.escape(self.answer)
        return f"<p>{said}</p>{self.table().to_html(float_format='{:.3f}'.format, index=False)}<p>{self.workdir}</p>"
