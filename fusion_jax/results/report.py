"""Writes the tables of a study: its metrics as Markdown, LaTeX (booktabs) and CSV, its calibration beside them."""

from __future__ import annotations

import importlib.util
import io
import re
import unicodedata
import warnings

import numpy as np
import pandas as pd

from fusion_jax import metrics
from fusion_jax.results import calibration_study, mixture, page, tables
from fusion_jax.results.figures import save_figure
from fusion_jax.results.store import Store, write_bytes
from fusion_jax.results.tables import Row

FOOT = (
    "Mean ± sample standard deviation (ddof 1) over seeds, on test rows. **Bold**: best mean of its column among our "
    "rows of one protocol and setting. †: not separated from it, for the 95 % interval of the difference, paired by "
    "seed (Student t over the seeds that both rows have; their splits are the same), holds 0, fewer than two seeds "
    "are common, or all of them differ by the same. There is no correction for the number of comparisons, and seeds "
    "whose splits overlap make the interval somewhat too narrow. {notes}-: undefined, such as the AUC where a class is "
    "absent. Parameters and seconds (training without compilation; of a control, all it does; of the best of several "
    "rows, all of them) are of one seed."
)
FIXED_FOOT = (
    "Where all seeds of a row have the same test rows, the spread over seeds is of training alone, and a row without "
    "± is one fit, the same for every seed, or has one seed. How far another draw of test rows would move the first "
    'metric stands in the column "by rows" (number of rows; 95 % interval: for accuracy Wilson\'s, of the mean over '
    "seeds; for others from the influence of each row). Between two such rows † is left out only where the difference "
    "is separated from 0 both paired by seed and paired by test row (mean over common seeds; for accuracy McNemar's "
    "comparison, for AUC DeLong's, for F1, log-loss and errors by the delta method; other metrics ask the seeds "
    "only)."
)
CALIBRATION_FOOT = (
    "Mean ± sample standard deviation (ddof 1) over seeds, on test rows; less is better, **bold** and † as in "
    "table.md. {notes}"
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
    text = "\n".join(_with_notes(store, group) for group in tables.grouped(found).values()) + f"\n{foot(FOOT, found)}\n"
    if any(row.tested is not None for row in found):
        text += f"\n{FIXED_FOOT}\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "table.md", text.encode())
        write_bytes(folder / "table.tex", "\n".join(latex(g) for g in tables.grouped(found).values()).encode())
        write_bytes(folder / "table.csv", csv(found).encode())
        write_bytes(folder / "index.html", page.render(store, found))
        write_calibration(store, found, figures)
    except OSError as error:  # the folder may be somebody else's, or full: the table is there to be read
        warnings.warn(f"the report is not written: {error}", stacklevel=2)
    return text


def _with_notes(store: Store, group: list[Row]) -> str:
    """A table in Markdown, and what its rows do not have in common."""
    notes = mixture.notes(store, group)
    return markdown(group) + (f"\n{' '.join(notes)}\n" if notes else "")


def write_calibration(store: Store, found: list[Row], figures: bool) -> None:
    """Writes report/calibration.{md,csv} and, if it is to be drawn, calibration.png; nothing without classification."""
    made = calibration_study.collect(store, found)
    if not made:
        return
    folder, table = store.root / "report", [c.row for c in made]
    text = "\n".join(markdown(group) for group in tables.grouped(table).values())
    text += f"\n{foot(CALIBRATION_FOOT, table).rstrip()}\n"
    write_bytes(folder / "calibration.md", text.encode())
    write_bytes(folder / "calibration.csv", csv(table).encode())
    stated = any("aurc_uncertainty" in row.values for row in table)
    if figures or (stated and importlib.util.find_spec("matplotlib")):
        save_figure(folder / "calibration.png", calibration_study.figure(made))


def foot(text: str, table: list[Row]) -> str:
    """What stands below tables, with what their metrics have to say."""
    shown = (m for group in tables.grouped(table).values() for m in tables.columns(group))
    notes = dict.fromkeys(note for m in shown if (note := metrics.named(m).note))
    return text.format(notes="".join(f"{note} " for note in notes))


def title(group: list[Row]) -> str:
    """Data set, protocol(s) and setting of a group of rows."""
    protocols = " and ".join(sorted({r.protocol for r in group if r.protocol and not r.published})) or "unknown"
    settings = sorted({r.setting for r in group if r.setting})
    return f"{group[0].data}; protocol {protocols}; setting {', '.join(settings) or 'unknown'}"


def _entries(group: list[Row]):
    """For every row: its label, its metric cells as (text, is best, is not separated from the best), its tail."""
    shown = tables.columns(group)
    protocols = {r.protocol for r in group if not r.published}
    settings = {r.setting for r in group if r.setting}
    kinds = {(r.protocol, r.setting) for r in group}
    winners = {(m, *kind): tables.best(group, m, *kind) for m in shown for kind in kinds}
    numbers = sources(group)
    for i, row in enumerate(group):
        tops = [winners[m, row.protocol, row.setting] for m in shown]
        cells = [(tables.cell_text(row, m), t == i, i in close) for m, (t, close) in zip(shown, tops, strict=True)]
        marks = [row.protocol] * (len(protocols) > 1 or bool(row.published)) + [row.setting] * (len(settings) > 1)
        marks += [str(numbers.index(row.source) + 1)] if row.published else []
        marks = [m for m in marks if m]
        label = f"{row.label} [{', '.join(marks)}]" if marks else row.label
        seeds = "-" if row.published else str(max((len(v) for v in row.values.values()), default=0))
        tail = [_by_rows(row, group)] * _has_fixed(group)
        yield row, label, cells, [*tail, seeds, _plain(row.parameters, ",d"), _plain(row.seconds, ".1f")]


def _has_fixed(group: list[Row]) -> bool:
    """Whether the table has the column of what the fixed test rows say."""
    return any(r.tested is not None and r.table == "main" for r in group)


def _by_rows(row: Row, group: list[Row]) -> str:
    """The fixed test rows and what they leave open, "106: 0.716 to 0.867"; a dash where seeds have their own."""
    if row.tested is None:
        return "-"
    found = next((tables.of_rows(row, metric) for metric in tables.columns(group)), None)
    return str(len(row.tested)) + ("" if found is None else ": {:.3f} to {:.3f}".format(*found))


def sources(group: list[Row]) -> list[str]:
    """What the rows of a table that are not run are cited from, in the order they first come; numbered from 1 there."""
    return list(dict.fromkeys(row.source for row in group if row.published))


def cited(group: list[Row], text, published: str, known: str) -> str:
    """The sources of the rows that are not run, after the words for either kind, with numbers; "" without any."""
    found = []
    for kind, words in ((tables.PUBLISHED, published), (tables.KNOWN, known)):
        own = {row.source for row in group if row.protocol == kind}
        numbered = [f"{i}: {text(source)}" for i, source in enumerate(sources(group), 1) if source in own]
        found += [f"{words}: {'; '.join(numbered)}."] if numbered else []
    return " ".join(found)


def _plain(value, form) -> str:
    return "-" if value is None else format(value, form)


def _head(group: list[Row]) -> list[str]:
    shown = tables.columns(group)
    heads = [metrics.heading(m) for m in shown] or ["result"]
    fixed = [f"{heads[0]} by rows"] if _has_fixed(group) else []
    return ["variant", "placement", *heads, *fixed, "seeds", "parameters", "seconds"]


def _without_result(row: Row, shown: list[str], dash: str, failed: str) -> list[str]:
    """The metric cells of a row that has no values: what became of it, then dashes."""
    return [row.error if row.error == tables.UNFINISHED else failed] + [dash] * (len(shown) - 1)


_MARKUP = re.compile(r"[\\|`*<]|(?<!\w)_|_(?!\w)|~(?=~)|\](?=\()")  # a_b is text, _a_ is not


def _md(text: str) -> str:
    """Text that stays within its cell: one line, no column borders, nothing that is markup."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def markdown(group: list[Row]) -> str:
    """One table in Markdown."""
    shown, head = tables.columns(group), _head(group)
    lines = [f"### {_md(title(group))}", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row, label, cells, tail in _entries(group):
        texts = [f"**{t}**" if top else t + " †" * close for t, top, close in cells] or ["-"]
        if not row.values and not row.published:
            texts = _without_result(row, shown, "-", f"FAILED: {_md(row.error.partition(chr(10))[0])}")
        lines.append("| " + " | ".join([_md(label), _md(row.placement), *texts, *tail]) + " |")
    if sources(group):
        lines += ["", cited(group, _md, "Published rows are copied, not run", "Known rows are calculated, not run")]
    return "\n".join(lines) + "\n"


_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": "{`}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "²": "$^2$",
    "⁄": "/",
    "°": r"$^\circ$",
    "µ": r"$\mu$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "§": r"\S{}",
    "…": r"\dots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "↔": r"$\leftrightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "∈": r"$\in$",
    "√": r"$\surd$",
    "∇": r"$\nabla$",
    "∂": r"$\partial$",
    "∑": r"$\sum$",
    "⊕": r"$\oplus$",
    "⊗": r"$\otimes$",
    "⊙": r"$\odot$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
    "\u0328": "k",
}
_LOOKS_LATIN = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEZHIKMNOPTXo", strict=True))  # LaTeX has no commands for these
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi "
    "psi omega varsigma Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
).split()


def _tex_character(c: str) -> str:
    """A character as plain LaTeX knows it, in ASCII; its number where LaTeX has none."""
    if c in _TEX:
        return _TEX[c]
    if c.isascii() or not c:
        return c if c.isprintable() else " "
    if c.isspace():
        return " "
    if c in _LOOKS_LATIN:
        return _LOOKS_LATIN[c]
    kind, _, letter = unicodedata.name(c, "").rpartition(" LETTER ")
    name = {"LAMDA": "lambda", "FINAL SIGMA": "varsigma"}.get(letter, letter.lower())
    name = name.capitalize() if kind == "GREEK CAPITAL" else name
    if kind in ("GREEK SMALL", "GREEK CAPITAL") and name in _GREEK:
        return f"$\\{name}$"
    base, *marks = unicodedata.normalize("NFD", c)
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii() and base.isalpha():
        return f"\\{_ACCENTS[marks[0]]}{{{base}}}"
    plain = unicodedata.normalize("NFKC", c)
    if plain == c:
        return f"[U+{ord(c):04X}]"
    made = "".join(map(_tex_character, plain))
    place = {"<super>": "^", "<sub>": "_"}.get(unicodedata.decomposition(c).partition(" ")[0])
    return f"${place}{{{made}}}$" if place and plain.isalnum() and plain.isascii() else made


def _tex(text: str) -> str:
    """Text as plain LaTeX: one line of ASCII in which nothing is a command, nor an argument of what stands before."""
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    made = "".join(map(_tex_character, text)).strip()
    # a line break or a rule takes "[...]" for its length, a line break "*" for its star
    return f"{{{made[0]}}}{made[1:]}" if made[:1] in ("[", "*") else made


def latex(group: list[Row]) -> str:
    """One table in LaTeX, for the package booktabs."""
    shown, head = tables.columns(group), _head(group)
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\begin{tabular}{ll" + "r" * (len(head) - 2) + "}",
        r"\toprule",
        " & ".join(_tex(h) for h in head) + r" \\",
        r"\midrule",
    ]
    for row, label, cells, tail in _entries(group):
        dagger = r"$^\dagger$"
        texts = [rf"\textbf{{{_tex(t)}}}" if top else _tex(t) + dagger * close for t, top, close in cells] or ["--"]
        if not row.values and not row.published:
            texts = _without_result(row, shown, "--", "failed")
        lines.append(" & ".join([_tex(label), _tex(row.placement), *texts, *map(_tex, tail)]) + r" \\")
    caption = _tex(f"{title(group)}. Mean ± sample standard deviation over seeds; best in bold.")
    caption += r" $^\dagger$: not separated from it by the 95\,\% interval of the difference paired by seed"
    caption += " and by test row." if _has_fixed(group) else "."
    if sources(group):
        caption += " " + cited(group, _tex, "Published", "Calculated")
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}", ""]
    return "\n".join(lines)


def csv(table: list[Row]) -> str:
    """All rows with full precision: of every metric mean, sd, interval (over seeds: low, high; over fixed test rows:
    rows_low, rows_high) and number of seeds."""
    records = []
    for row in table:
        record = dict(
            data=row.data,
            protocol=row.protocol,
            setting=row.setting,
            variant=row.label,
            placement=row.placement,
            parameters=row.parameters,
            seconds=row.seconds,
            error=row.error,
            source=row.source,
            test_rows=None if row.tested is None else len(row.tested),
        )
        for metric, (mean, sd) in row.published.items():
            record |= {f"{metric}_mean": mean, f"{metric}_sd": sd}
        for metric, values in row.values.items():
            low, high = tables.interval(values)
            record |= {f"{metric}_mean": np.mean(values), f"{metric}_low": low, f"{metric}_high": high}
            record[f"{metric}_sd"] = np.std(values, ddof=1) if len(values) > 1 else np.nan
            record["seeds"] = len(values)
            if (rows := tables.of_rows(row, metric)) is not None:
                record |= {f"{metric}_rows_low": rows[0], f"{metric}_rows_high": rows[1]}
        records.append(record)
    buffer = io.StringIO()
    pd.DataFrame(records).to_csv(buffer, index=False)
    return buffer.getvalue()
