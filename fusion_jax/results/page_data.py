"""What the page of a study is made from: one dictionary of plain values, read from the store."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fusion_jax import metrics
from fusion_jax.results import answer, claim_record, claims, mixture, page_cells, page_pairing, tables
from fusion_jax.results.compare import BASELINE
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store

CLAIM = ("text", "verdict", "evidence", "more_seeds", "late")  # what is told of a claim
COVERAGES = slice(None, None, 3)  # of `calibration.GRID` a curve has so many points in a small panel


def collect(
    store: Store,
    found: Sequence[Row] | None = None,
    *,
    baseline: str = BASELINE,
    sentence: str = "",
) -> dict[str, Any]:
    """The study as JSON has it, null for what is not a number.

    Values of metrics are those of every seed, at full precision, so that whatever is calculated from them can be
    calculated anew; curves are thinned and rounded to what a screen shows.

    Args:
        found, sentence: the rows of `tables.rows` and their `answer.sentence`, where they are there already.
        baseline: the label of the row that others are compared with.
    Raises:
        FileNotFoundError: the folder holds no study.
    """
    study = store.read_study()
    found = tables.rows(store) if found is None else list(found)
    cells = page_cells.collect(store, study)
    groups = _groups(found)
    answered = claims.answer(store, found)
    changed = claim_record.changes(study, claim_record.trained(store, study))
    by_row, by_group = page_pairing.of_rows([[found[i] for i in group] for group in groups], baseline)
    by_cell = _with_cells(found, study)
    rows = [_row(row, cell) | by_row.get(id(row), {}) | _calibration(row) for row, cell in by_cell]
    _mark_unread(cells["cells"], by_cell)
    return plain(
        dict(
            title=page_cells.title(store, study),
            sentence=sentence or answer.sentence(found, baseline=baseline, claims=answered),
            claims=[{name: getattr(one, name) for name in CLAIM} for one in answered],
            stated=claim_record.stated(study) | dict(changes=changed),
            looks=page_pairing.of_looks(study.get("looks", {}).get("plan", ())),
            source=study.get("source", ""),
            status=page_cells.counts(cells["cells"]),
            metrics=_metrics(found),
            baseline=baseline,
            standard=BASELINE,
            groups=[_group(store, g, found) | rest for g, rest in zip(groups, by_group, strict=True)],
            rows=rows,
            **cells,
        )
    )


def plain(value: Any) -> Any:
    """Dictionaries, lists, texts and finite numbers; None for every other number."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _metrics(found: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """{metric: how it is shown}, in the order of the columns of their tables."""
    names = dict.fromkeys(m for row in found for m in (*row.values, *row.published))
    shown = [m for table in ("main", "calibration") for m in metrics.shown(names, table)]
    return {
        m: dict(
            heading=metrics.heading(m),
            sign=metrics.sign(m),
            digits=metrics.named(m).digits,
            fraction=metrics.named(m).fraction,
            pairs=metrics.named(m).pairs,
            table=metrics.named(m).table,
            note=metrics.named(m).note,
        )
        for m in (*shown, *metrics.shown(metrics.known(), "calibration"))
    }


def _groups(found: Sequence[Row]) -> list[list[int]]:
    """Numbers of the rows that are compared with each other: of one data set, task, protocol and setting.

    Rows that are not run stand in every group of their data set.
    """
    numbers = {id(row): i for i, row in enumerate(found)}
    groups: list[list[int]] = []
    for group in tables.grouped(list(found)).values():
        cited = [numbers[id(row)] for row in group if row.published]
        own: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
        for row in group:
            if not row.published:
                own[row.protocol, row.setting].append(numbers[id(row)])
        groups += [rows + cited for rows in own.values()] or [cited]
    return groups


def _group(store: Store, numbers: Sequence[int], found: Sequence[Row]) -> dict[str, Any]:
    rows = [found[i] for i in numbers]
    first = next((row for row in rows if row.values), rows[0])
    alike = [row for row in found if row.data == first.data and not row.published]
    several = len({(row.protocol, row.setting) for row in alike}) > 1
    return dict(
        name=first.data + (f" [{first.protocol}, {first.setting}]" if several else ""),
        data=first.data,
        task=first.task,
        protocol=first.protocol,
        setting=first.setting,
        primary=first.primary,
        rows=list(numbers),
        notes=mixture.notes(store, rows),
    )


def _row(row: Row, cell: str) -> dict[str, Any]:
    return dict(
        label=row.label,
        name=row.name,
        placement=row.placement,
        data=row.data,
        values=row.values,
        seeds=row.seeds or list(range(max((len(v) for v in row.values.values()), default=0))),
        parameters=row.parameters,
        seconds=row.seconds,
        error=row.error,
        published=row.published,
        source=row.source,
        cell=cell,
        tested=None if row.tested is None else len(row.tested),
        chosen=row.chosen,
        trials=row.trials,
        flops=row.flops,
        peak_bytes=row.peak_bytes,
        compile_seconds=row.compile_seconds,
        looks=row.looks,
        limit=row.limit,
        **page_pairing.of_splits(row),
    )


def _with_cells(found: Sequence[Row], study: Mapping[str, Any]) -> list[tuple[Row, str]]:
    """Every row with the identity of its cell, of one that failed too; "" of a row that is not one cell's."""
    taken = {row.cell for row in found}
    left = iter([entry["id"] for entry in study["cells"] if entry["id"] not in taken])
    return [
        (row, row.cell if row.cell or row.values or row.published else next(left, ""))  # failed ones are in their order
        for row in found
    ]


def _mark_unread(cells: dict[str, dict[str, Any]], by_cell: Iterable[tuple[Row, str]]) -> None:
    """A cell that finished and cannot be read has failed, as its row says."""
    for row, cell in by_cell:
        if row.error and cell in cells and cells[cell]["state"] == page_cells.DONE:
            cells[cell] |= dict(state=page_cells.FAILED, damaged=row.error)


def _calibration(row: Row) -> dict[str, Any]:
    """The calibration's measures by seed, reliability and risk-coverage of all its seeds; {} where there are none."""
    if row.calibration is None:
        return {}
    found = row.calibration
    return dict(
        calibration=found.values,
        bins=[page_cells.rounded(v) for v in found.bins],
        risks={name: page_cells.rounded(risk[COVERAGES]) for name, risk in found.risks.items()},
    )
