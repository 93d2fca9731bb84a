"""The grid: data sets across, or placements; ranks as SciPy ranks."""

import dataclasses

import numpy as np
from scipy.stats import rankdata

from fusion_jax.results.rendering import grid
from fusion_jax.results.rendering import table as shared
from tests.rows import noisy, row

MEANS = dict(a=(0.7, 0.8, 0.6), b=(0.7, 0.75, 0.76), c=(0.5, 0.5, 0.9))
NAMES = ("concat_mlp", "gmu", "mean")


def tables():
    return [
        shared.of([row(n, noisy(m, draw=k), data=data) for k, (n, m) in enumerate(zip(NAMES, means, strict=True))])
        for data, means in MEANS.items()
    ]


def test_variants_by_data_sets_with_mean_ranks():
    made = grid.of(tables())
    assert list(made.heads) == ["a", "b", "c"] and made.metric == "accuracy"
    assert list(made.names) == [(n, "before") for n in NAMES]
    ranks = np.mean([rankdata([-m for m in means]) for means in MEANS.values()], axis=0)
    np.testing.assert_allclose(made.ranks, ranks)
    lines = grid.markdown(made).splitlines()
    assert lines[0] == "| variant | placement | a | b | c | mean rank |" and len(lines) == 5
    assert lines[2].startswith("| concat_mlp | before | _0.700 ± 0.010_ | 0.700 ± 0.010 |")
    assert "**0.800 ± 0.010** (+)" in lines[3] and lines[3].endswith(f"| {ranks[1]:.1f} |")
    assert r"\textbf{0.800 $\pm$ 0.010}$^{+}$" in grid.latex(made)


def test_a_row_that_a_data_set_lacks_has_a_dash_and_no_rank():
    first, *rest = tables()
    short = shared.of([r for r in first.rows if r.label != "mean"])
    made = grid.of([short, *rest])
    assert made.cells[2][0].text == "-" and np.isnan(made.ranks[2]) and made.ranked == 2
    assert grid.markdown(made).splitlines()[-1].endswith("| - |")


def test_on_one_data_set_placements_stand_across():
    mlp, late = "concat_mlp", "late"
    places = [(mlp, "before", 0.7), ("gmu", "before", 0.8), (mlp, "after", 0.6), (late, "decision", 0.5)]
    rows = [row(name, noisy(m, draw=k), place) for k, (name, place, m) in enumerate(places)]
    made = grid.of([shared.of([*rows, row("svm", noisy(0.4), "-", role="control")])])
    assert list(made.heads) == ["before", "after", "decision"]
    assert [name for name, _ in made.names] == ["concat_mlp", "gmu", "late"]
    assert made.cells[0][1].text == "0.600 ± 0.010" and made.cells[2][0].text == "-"
    assert grid.markdown(made).startswith("| variant | before | after | decision |")


def test_one_column_is_no_grid():
    assert grid.of([tables()[0]]) is None and grid.of([]) is None
    assert grid.of([shared.of([row("a", error="no")])]) is None


def test_protocols_and_metrics_are_named_where_they_differ():
    rows = [row("a", noisy(0.7)), dataclasses.replace(row("a", noisy(0.6)), protocol="paper")]
    assert list(grid.of([shared.of(rows)]).heads) == ["toy [honest]", "toy [paper]"]
    values = shared.of([row("a", dict(rmse=noisy(2.0)), data="v", task="values", primary="rmse")])
    made = grid.of([tables()[0], values])
    assert list(made.heads) == ["a: accuracy", "v: RMSE"] and made.metric == ""


def test_percent():
    assert grid.of(tables(), percent=True).cells[0][0].text == "70.0 ± 1.0"
