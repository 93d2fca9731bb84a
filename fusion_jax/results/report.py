"""Writes the tables of a study: its metrics as Markdown, LaTeX (booktabs) and CSV, its calibration beside them."""

from __future__ import annotations

import importlib.util
import io
import warnings

import numpy as np
import pandas as pd

from fusion_jax.results import calibration_study, tables
from fusion_jax.results.figures import save_figure
from fusion_jax.results.store import Store, write_bytes
from fusion_jax.results.tables import Row

NAMES = dict(accuracy="accuracy", macro_f1="macro F1", weighted_f1="weighted F1", f1="F1 (class 1)", auc="AUC",
             rmse="RMSE", mae="MAE", r2="R²", c_index="C-index", result="result", ece="ECE", brier="Brier",
             log_loss="log-loss", aurc="AURC by probability", aurc_uncertainty="AURC by uncertainty")  # fmt: skip
FOOT = (
    "Mean ± sample standard deviation (ddof 1) over seeds, on test rows. **Bold**: best mean of its column among our "
    "rows of one protocol; † beside it: the runner-up's 95 % interval (Student t over seeds) overlaps. "
    "Parameters and seconds (training without compilation) are of one seed."
)
CALIBRATION_FOOT = (
    "Mean ± sample standard deviation (ddof 1) over seeds, on test rows; less is better, **bold** and † as in "
    "table.md. ECE: expected calibration error of the top-label probability, 15 bins of equal width. Brier: summed "
    "over classes, in [0, 2]. AURC: error rate among the most confident rows, averaged over how many of them are "
    "taken, where confidence is the top-label probability, or less of the uncertainty the model itself states (- where "
    "it states none). A model with fewer errors has the smaller area however it ranks them: compare the two of a row."
)


def write(store: Store, *, figures: bool = False) -> str:
    """Writes report/table.{md,tex,csv} into the study's folder and returns the Markdown.

    Where there is classification, report/calibration.{md,csv} too; and calibration.png where a model states an
    uncertainty and matplotlib is installed, or with `figures`.

    Where the folder cannot be written, a warning says so and the Markdown is returned all the same.

    Raises:
        FileNotFoundError: the folder holds no study.
        ImportError: `figures` without matplotlib.
    """
    found = tables.rows(store)
    folder = store.root / "report"
    text = "\n".join(markdown(group) for group in tables.grouped(found).values()) + f"\n{FOOT}\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "table.md", text.encode())
        write_bytes(folder / "table.tex", "\n".join(latex(g) for g in tables.grouped(found).values()).encode())
        write_bytes(folder / "table.csv", csv(found).encode())
        write_calibration(store, found, figures)
    except OSError as error:  # the folder may be somebody else's, or full: the table is there to be read
        warnings.warn(f"the report is not written: {error}", stacklevel=2)
    return text


def write_calibration(store: Store, found: list[Row], figures: bool) -> None:
    """Writes report/calibration.{md,csv} and, if it is to be drawn, calibration.png; nothing without classification."""
    made = calibration_study.collect(store, found)
    if not made:
        return
    folder, table = store.root / "report", [c.row for c in made]
    text = "\n".join(markdown(group) for group in tables.grouped(table).values()) + f"\n{CALIBRATION_FOOT}\n"
    write_bytes(folder / "calibration.md", text.encode())
    write_bytes(folder / "calibration.csv", csv(table).encode())
    stated = any("aurc_uncertainty" in row.values for row in table)
    if figures or (stated and importlib.util.find_spec("matplotlib")):
        save_figure(folder / "calibration.png", calibration_study.figure(made))


def title(group: list[Row]) -> str:
    """Data set, protocol(s) and setting of a group of rows."""
    protocols = " and ".join(sorted({r.protocol for r in group if r.protocol and not r.published})) or "unknown"
    settings = sorted({r.setting for r in group if r.setting})
    return f"{group[0].data}; protocol {protocols}; setting {', '.join(settings) or 'unknown'}"


def _entries(group: list[Row]):
    """For every row: its fixed cells and its metric cells as (text, is best, overlaps)."""
    shown = tables.columns(group)
    protocols = {r.protocol for r in group}
    winners = {(m, p): tables.best(group, m, p) for m in shown for p in protocols}
    cited = sources(group)
    for i, row in enumerate(group):
        tops = [winners[m, row.protocol] for m in shown]
        cells = [(tables.cell_text(row, m), t == i, t == i and o) for m, (t, o) in zip(shown, tops, strict=True)]
        label = f"{row.label} [{row.protocol}]" if len(protocols) > 1 and row.protocol else row.label
        if row.published:
            label = f"{row.label} [{row.protocol}, {cited.index(row.source) + 1}]"
        seeds = max((len(v) for v in row.values.values()), default=0)
        yield row, label, cells, seeds


def sources(group: list[Row]) -> list[str]:
    """What the published rows of a table are cited from, in the order they first come; numbered from 1 in the table."""
    return list(dict.fromkeys(row.source for row in group if row.published))


def _plain(value, form) -> str:
    return "-" if value is None else format(value, form)


def _head(shown: list[str]) -> list[str]:
    return ["variant", "placement", *(NAMES[m] for m in shown or ["result"]), "seeds", "parameters", "seconds"]


def _without_result(row: Row, shown: list[str], dash: str, failed: str) -> list[str]:
    """The metric cells of a row that has no values: what became of it, then dashes."""
    return [row.error if row.error == tables.UNFINISHED else failed] + [dash] * (len(shown) - 1)


def _md(text: str) -> str:
    """Text that stays within its cell: one line, no column borders."""
    return (text.splitlines() or [""])[0].replace("|", r"\|")


def markdown(group: list[Row]) -> str:
    """One table in Markdown."""
    shown = tables.columns(group)
    head = _head(shown)
    lines = [f"### {title(group)}", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row, label, cells, seeds in _entries(group):
        texts = [f"**{t}**{' †' if overlap else ''}" if top else t for t, top, overlap in cells]
        if not row.values and not row.published:
            texts = _without_result(row, shown, "-", f"FAILED: {_md(row.error)}")
        tail = ["-" if row.published else str(seeds), _plain(row.parameters, ",d"), _plain(row.seconds, ".1f")]
        lines.append("| " + " | ".join([_md(label), row.placement, *texts, *tail]) + " |")
    if sources(group):
        cited = "; ".join(f"{i}: {source}" for i, source in enumerate(sources(group), 1))
        lines += ["", f"Published rows are copied, not run: {cited}."]
    return "\n".join(lines) + "\n"


_TEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "±": r"$\pm$", "²": "$^2$", "\n": " ",
})  # fmt: skip


def _tex(text: str) -> str:
    return text.translate(_TEX)


def latex(group: list[Row]) -> str:
    """One table in LaTeX, for the package booktabs."""
    shown = tables.columns(group)
    head = _head(shown)
    lines = [r"\begin{table}", r"\centering", r"\begin{tabular}{ll" + "r" * (len(head) - 2) + "}", r"\toprule",
             " & ".join(_tex(h) for h in head) + r" \\", r"\midrule"]  # fmt: skip
    for row, label, cells, seeds in _entries(group):
        dagger = r"$^\dagger$"
        texts = [
            rf"\textbf{{{_tex(t)}}}{dagger if overlap else ''}" if top else _tex(t) for t, top, overlap in cells
        ]
        if not row.values and not row.published:
            texts = _without_result(row, shown, "--", "failed")
        tail = ["-" if row.published else str(seeds), _plain(row.parameters, ",d"), _plain(row.seconds, ".1f")]
        lines.append(" & ".join([_tex(label), _tex(row.placement), *texts, *tail]) + r" \\")
    caption = _tex(f"{title(group)}. Mean ± sample standard deviation over seeds; best in bold.")
    caption += r" $^\dagger$: the runner-up's 95\,\% interval overlaps."
    if sources(group):
        caption += " Published: " + "; ".join(f"{i}: {_tex(s)}" for i, s in enumerate(sources(group), 1)) + "."
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}", ""]
    return "\n".join(lines)


def csv(table: list[Row]) -> str:
    """All rows with full precision: mean, sd, interval and number of seeds of every metric."""
    records = []
    for row in table:
        record = dict(
            data=row.data, protocol=row.protocol, setting=row.setting, variant=row.label, placement=row.placement,
            parameters=row.parameters, seconds=row.seconds, error=row.error, source=row.source,
        )  # fmt: skip
        for metric, (mean, sd) in row.published.items():
            record |= {f"{metric}_mean": mean, f"{metric}_sd": sd}
        for metric, values in row.values.items():
            low, high = tables.interval(values)
            record |= {f"{metric}_mean": np.mean(values), f"{metric}_low": low, f"{metric}_high": high}
            record[f"{metric}_sd"] = np.std(values, ddof=1) if len(values) > 1 else np.nan
            record["seeds"] = len(values)
        records.append(record)
    buffer = io.StringIO()
    pd.DataFrame(records).to_csv(buffer, index=False)
    return buffer.getvalue()
