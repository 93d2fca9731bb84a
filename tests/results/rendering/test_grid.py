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


def of_kinds(*kinds):
    """Two variants on (data, protocol, setting), the first the better one where its score is above .5."""
    groups = {}
    for k, (data, protocol, setting, score) in enumerate(kinds):
        for name, mean in (("concat_mlp", score), ("gmu", 0.5)):
            made = row(name, noisy(mean, draw=k), data=data)
            groups.setdefault(data, []).append(dataclasses.replace(made, protocol=protocol, setting=setting))
    return [shared.of(rows) for rows in groups.values()]


def test_a_data_set_with_several_columns_is_ranked_by_the_one_that_all_have():
    kinds = [("a", "honest", "s", 0.7), ("a", "honest", "t", 0.4), ("a", "paper", "s", 0.4), ("b", "honest", "s", 0.4)]
    made = grid.of(of_kinds(*kinds))
    assert len(made.heads) == 4 and made.matrix.shape == (2, 2), "a block a data set"
    np.testing.assert_allclose(made.ranks, [1.5, 1.5])
    assert "Mean rank: over the data sets (protocol honest, setting s), 1 the best" in grid.foot(made)
    assert "over the data sets (protocol honest, setting s), 1 the" in grid.latex(made)


def test_without_one_column_that_stands_for_each_data_set_there_are_no_ranks():
    both = [(d, "honest", s, 0.7) for d in "ab" for s in "st"]
    apart = [("a", "honest", "s", 0.7), ("a", "honest", "t", 0.7), ("b", "honest", "u", 0.7)]
    one = [("a", "honest", s, 0.7) for s in "stuv"]
    for kinds in (both, apart, one):
        made = grid.of(of_kinds(*kinds))
        assert made.ranked == 0 and made.matrix.size == 0 and "rank" not in grid.markdown(made) + grid.foot(made)
    two = grid.of(of_kinds(("a", "honest", "s", 0.7), ("b", "paper", "t", 0.7)))
    assert two.ranked == 2 and two.over == "", "each has one column, of whatever kind"


def test_tasks_of_one_data_set_are_one_block():
    two = [row(n, noisy(m, draw=m)) for n, m in (("a", 1), ("b", 2))]
    values = [row(r.label, dict(rmse=r.values["accuracy"]), task="values", primary="rmse") for r in two]
    assert grid.of([shared.of(two), shared.of(values)]).ranked == 0


def test_scores_are_equal_by_their_own_scale():
    scores = {("a", ""): {0: 3e-13, 1: 5e6}, ("b", ""): {0: 1e-13, 1: 5e6 + 1e-8}, ("c", ""): {0: 2e-13}}
    names, ranks = grid.ranked(scores, 2)
    assert names == [("a", ""), ("b", "")]
    np.testing.assert_allclose(ranks, [[1, 2], [1.5, 1.5]])


def test_the_legend_says_what_marks_and_places_are_of():
    text = grid.foot(grid.of(tables()))
    assert text.startswith(
        "Accuracy, mean ± sample standard deviation over 10 seeds on test rows. **Bold**: best of its"
    )
    assert (
        "worse than the baseline concat_mlp (before) after Holm's correction over all comparisons on a data set" in text
    )
    assert "Mean rank: over the data sets, 1 the best" in text
    places = [
        ("concat_mlp", "before", 0.7),
        ("gmu", "before", 0.8),
        ("concat_mlp", "after", 0.6),
        ("gmu", "after", 0.65),
    ]
    rows = [row(name, noisy(m, draw=k), place) for k, (name, place, m) in enumerate(places)]
    across = grid.of([shared.of([*rows, row("svm", noisy(0.9), "-", role="control")])])
    assert [[c.place for c in line] for line in across.cells] == [[2, 0], [1, 0]], "the control is not in the grid"
    text = grid.foot(across)
    assert text.startswith("Accuracy on toy, mean") and r"{\raggedright Accuracy on toy. Mean" in grid.latex(across)
    assert (
        "**Bold**: best of the grid" in text
        and "concat_mlp (before), concat_mlp (after) (the one placed as the row" in text
    )
    assert "best of the grid in bold" in grid.latex(across) and "(the one placed as the row is, else" in grid.latex(
        across
    )
    alone = grid.of([shared.of([row("gmu", noisy(0.7), data=d)]) for d in "ab"])
    assert "baseline" not in grid.foot(alone) + grid.latex(alone)


def test_tuning_that_all_rows_share_is_said_in_the_foot():
    names = [f"{name} (tuned, 6 trials)" for name in NAMES]
    rows = [row(n, noisy(0.7, draw=k), place, trials=6) for place in ("before", "after") for k, n in enumerate(names)]
    made = grid.of([shared.of(rows)])
    assert [variant for variant, _ in made.names] == list(NAMES) and "(tuned" not in grid.foot(made)
    assert "over 10 seeds, each row tuned with 6 trials, on test rows" in grid.foot(made)
    unequal = grid.of([shared.of([*rows, row("gmu", noisy(0.7), trials=3)])])
    assert [variant for variant, _ in unequal.names] == [*names, "gmu"]
