"""LaTeX tables: whole, and compiled to pages on which nothing is too wide."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from fusion_jax.results.rendering import grid, latex
from fusion_jax.results.rendering import table as shared
from tests.rows import known, noisy, row

METRICS = ("accuracy", "macro_f1", "weighted_f1", "auc")
ARTICLE = r"""\documentclass{article}
\usepackage{booktabs,tabularx}
\begin{document}
\typeout{WIDTH \the\textwidth}
%s
\end{document}
"""


def study(rows=60, data="toy"):
    """Rows of every kind, with long names, four metrics and all costs."""
    found = [row("concat_mlp", {m: noisy(0.7) for m in METRICS}, data=data)]
    for i in range(rows):
        label = f"hierarchical_perceiver_{i}, model.fusion.options.a_long_option={i}"
        values = {m: noisy(0.4 + i / 200, draw=i) for m in METRICS}
        costs = dict(parameters=12_345_678, seconds=123.4, flops=1.2e12, peak_bytes=4e9, compile_seconds=101.5)
        found.append(row(label, values, "before (no graph)" if i % 2 else "interleaved", data=data, **costs))
    found.append(row("broken", error="ValueError: no", data=data))
    found.append(row("fixed", dict(accuracy=noisy(0.7)), data=data, tested=np.arange(106)))
    return [*found, known("a classifier [1] of " + "somebody-else's-very-long-name/" * 3, 0.9, data=data)]


def compiled(tmp_path, tex):
    """The log of what LaTeX made of it, for the article class at its own width."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    (tmp_path / "main.tex").write_text(ARTICLE % tex)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    if "File `tabularx.sty' not found" in done.stdout or "File `booktabs.sty' not found" in done.stdout:
        pytest.skip("TeX is installed without booktabs or tabularx")
    assert done.returncode == 0, done.stdout[-2000:]
    return (tmp_path / "main.log").read_text(errors="replace")


@pytest.mark.parametrize("percent", [False, True])
def test_tables_fit_the_page(tmp_path, percent):
    every = shared.of(study())
    sets = [shared.of(study(8, f"data_{k}_with_a_name")) for k in range(7)]
    parts = [latex.render(every.only(metrics), percent=percent) for metrics in (None, METRICS)]
    log = compiled(tmp_path, "\n".join([*parts, grid.latex(grid.of(sets, percent=percent))]))
    assert "WIDTH 345.0pt" in log and re.search(r"Output written on main.pdf \(\d+ pages?", log)
    for problem in (r"Overfull \hbox", r"Overfull \vbox", "Float too large"):
        assert problem not in log, log[log.index(problem) :][:300]


def test_percent_scales_what_is_a_fraction_and_nothing_else():
    table = shared.of([row("concat_mlp", dict(accuracy=noisy(0.7))), row("gmu", dict(accuracy=noisy(0.8, draw=1)))])
    tex = latex.render(table.only(None), percent=True)
    assert r"accuracy (\%)" in tex and r"\textbf{80.0 $\pm$ 1.0}$^{+}$" in tex and r"70.0 $\pm$ 1.0" in tex
    assert "& +10.0 [" in tex
    errors = shared.of([row("a", dict(rmse=noisy(2.0)), primary="rmse", task="values")])
    assert r"\textbf{2.000 $\pm$ 0.010}" in latex.render(errors.only(None), percent=True)


def test_best_second_and_marks():
    rows = [row("concat_mlp", noisy(0.7)), row("up", noisy(0.8, draw=1)), row("down", noisy(0.6, draw=2))]
    tex = latex.render(shared.of(rows))
    assert r"\textbf{0.800 $\pm$ 0.010}$^{+}$" in tex and r"\underline{0.700 $\pm$ 0.010} & baseline" in tex
    assert r"& 0.600 $\pm$ 0.010$^{-}$ &" in tex


def test_rows_that_do_not_fit_a_page_go_on_in_another_table():
    tex = latex.render(shared.of(study(90)))
    assert tex.count("(continued).") == tex.count(r"\begin{table}") - 1 > 3
    assert tex.count("concat\\_mlp &") == len(re.findall(r"hierarchical\S*perceiver\S*_\S*89", tex)), (
        "each row as often"
    )


def test_the_published_rows_are_cited_in_the_caption():
    tex = latex.render(shared.of([row("a", noisy(0.7)), known("theirs & others", 0.9)]))
    assert r"theirs \& others [known, 1]" in tex and "Calculated: 1: S.}" in tex


def test_every_table_has_a_label_of_its_own_and_what_marks_mean_is_said_once():
    names = ("a b", "a_b", "grid")
    made = [shared.of([row("concat_mlp", noisy(0.7), data=d), row("gmu", noisy(0.8, draw=1), data=d)]) for d in names]
    made.append(shared.of(study(60, "long")))
    tex = "\n".join([grid.latex(grid.of(made)), latex.every(made)])
    labels = re.findall(r"\\label\{tab:(.*)\}", tex)
    assert labels[0] == "grid" and {"a-b", "a-b-2", "grid-2", "long", "long:2"} < set(labels)
    assert len(set(labels)) == len(labels) == tex.count(r"\begin{table}")
    assert tex.count("standard deviation") == 2, "of the grid, and of the tables"
    assert tex.count(r"Marks as in Table~\ref{tab:a-b}. 10 seeds; baseline concat\_mlp (before); test: ") == 3
    alone = shared.of([row("gmu", noisy(0.8))])
    assert "Marks as" not in latex.every([alone, made[0]]), "where others have more kinds of them they say it"


def test_captions_say_how_many_seeds():
    tex = latex.render(shared.of([row("a", noisy(0.7, seeds=3)), row("b", noisy(0.7, seeds=8, draw=1))]))
    assert " 3 to 8 seeds; baseline a (before); test: Student t." in tex
