"""Comparisons of the rows of a table, from the pair to the family."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from fusion_jax.results import compare, paired, power
from fusion_jax.results.differences import difference
from tests.results.compared import drawn, row

RNG = np.random.default_rng(0)
BASE = RNG.uniform(0.6, 0.7, 10)


def table(n=5):
    shifts = np.linspace(-0.1, 0.1, n)
    others = [drawn(f"r{i}", BASE + s + RNG.normal(size=10) / 50, 800, 200) for i, s in enumerate(shifts)]
    return [drawn("concat_mlp", BASE, 800, 200), *others]


def test_every_other_row_is_compared_with_the_baseline():
    rows = table()
    found = compare.against(rows, "accuracy")
    assert [c.a.label for c in found] == [f"r{i}" for i in range(5)] and all(c.b is rows[0] for c in found)
    np.testing.assert_allclose([c.adjusted for c in found], multipletests([c.p for c in found], method="holm")[1])
    assert found[0].worse and not found[0].better and found[4].better and found[4].separated
    assert not found[2].better and not found[2].worse
    c, d = found[4], rows[5].values["accuracy"] - BASE
    judged = difference(rows[5], rows[0], "accuracy")
    assert (c.low, c.high) == judged.estimate.interval() and c.p == judged.estimate.p() and c.seeds == tuple(range(10))
    assert c.difference == pytest.approx(d.mean()) and c.method == "Nadeau-Bengio, test/train 0.25"
    np.testing.assert_allclose(c.wilcoxon, stats.wilcoxon(d).pvalue)
    assert c.permutation == paired.sign_flip(d) and c.improvement == np.mean(d > 0) > c.improvement_low
    assert c.effect == paired.effect(d) and c.needed == power.needed(c.effect, 0.25) and c.nadeau_bengio == c.p


def test_less_is_better_where_it_is():
    rows = [row("concat_mlp", BASE, "rmse"), row("x", BASE - 0.1 + RNG.normal(size=10) / 99, "rmse")]
    (found,) = compare.against(rows, "rmse")
    assert found.better and found.difference < 0 and found.improvement == 1


def test_the_family_is_the_table_or_what_is_named():
    rows = table()
    named = compare.against(rows, "accuracy", family=["r0", "r2, before"])
    assert [c.a.label for c in named] == ["r0", "r2"]
    np.testing.assert_allclose([c.adjusted for c in named], paired.holm(np.array([c.p for c in named])))
    other = [dataclasses.replace(r, data="other") for r in rows]
    both = compare.against([*rows, *other], "accuracy")
    assert [c.adjusted for c in both] == [c.adjusted for c in compare.against(rows, "accuracy")] * 2, "a family each"
    with pytest.raises(ValueError, match="family: no row is named 'r7' \\(did you mean"):
        compare.against(rows, "accuracy", family=["r7"])


def test_protocols_and_settings_are_kept_apart_and_corrected_together():
    rows = table(2)
    inductive = [dataclasses.replace(r, setting="inductive") for r in rows]
    paper = [dataclasses.replace(r, protocol="paper", label="p") for r in rows[:1]]
    found = compare.against([*rows, *inductive, *paper], "accuracy")
    assert [(c.a.label, c.a.setting, c.b.setting) for c in found] == [
        ("r0", "default", "default"),
        ("r1", "default", "default"),
        ("r0", "inductive", "inductive"),
        ("r1", "inductive", "inductive"),
    ]
    np.testing.assert_allclose([c.adjusted for c in found], multipletests([c.p for c in found], method="holm")[1])


def test_placements_have_baselines_of_their_own():
    rows = [*table(1), *(dataclasses.replace(r, placement="after") for r in table(1))]
    found = compare.against(rows, "accuracy")
    assert [(c.a.label, c.a.placement, c.b.placement) for c in found] == [
        ("r0", "before", "before"),
        ("concat_mlp", "after", "before"),
        ("r0", "after", "after"),
    ]
    of_one = compare.against(rows, "accuracy", ("concat_mlp", "before"))
    assert {c.b.placement for c in of_one} == {"before"} and len(of_one) == 3
    with pytest.raises(ValueError, match="baseline: no row is named 'r0, befor' \\(did you mean"):
        compare.against([*rows, row("r0, before", BASE)], "accuracy", "r0, befor")
    assert compare.against(rows[1:2] * 1 + rows[3:], "accuracy")[0].b is rows[1], "without one the first row"


def test_where_the_baseline_has_no_value_nothing_is_compared():
    """Neither the first row nor an error stands in for it."""
    rows = [row(n, BASE) for n in ("x", "m", "concat_mlp")]
    undefined = [dataclasses.replace(r, values=dict(r.values, auc=np.full(10, np.nan))) for r in rows]
    assert compare.against(undefined, "auc", "m") == [] and len(compare.against(undefined, "accuracy", "m")) == 2
    known = [dataclasses.replace(r, values=dict(r.values, auc=BASE)) for r in rows]
    assert compare.against([known[0], undefined[1], known[2]], "auc", "m") == []
    assert compare.against([*known[:2], undefined[2]], "auc") == []
    failed = row("concat_mlp", None, error="E")
    assert compare.against([*known[:2], failed], "auc") == [], "a row that failed is there too"
    values = [dataclasses.replace(r, task="values") for r in known[:2]]
    assert compare.against([*values, failed], "auc") == [], "whose task nobody knows"
    (found,) = compare.against(known[:2], "auc")
    assert found.b is known[0], "no row has the name"


def test_all_pairs():
    rows = table()
    found = compare.pairs(rows, "accuracy")
    assert len(found) == 15 and [(c.a.label, c.b.label) for c in found[:2]] == [
        ("concat_mlp", "r0"),
        ("concat_mlp", "r1"),
    ]
    np.testing.assert_allclose([c.adjusted for c in found], multipletests([c.p for c in found], method="holm")[1])
    assert len(compare.pairs(rows, "accuracy", family=["r0", "r1", "r2"])) == 3


def test_what_cannot_be_compared_takes_no_part_and_what_says_nothing_is_not_counted():
    rows = [
        *table(1),
        row("published", None, published=dict(accuracy=(0.99, 0.0))),
        row("failed", None, error="E"),
        row("undefined", [np.nan] * 10),
        row("one seed", [0.9]),
    ]
    found = compare.against(rows, "accuracy")
    assert [c.a.label for c in found] == ["r0", "one seed"]
    assert found[0].adjusted == found[0].p, "a comparison that says nothing is none"
    assert np.isnan(found[1].adjusted) and not found[1].separated and found[1].needed is None
    assert compare.against([], "accuracy") == [] == compare.pairs(rows[2:4], "accuracy")


def test_rows_that_are_the_same_are_not_different():
    (found,) = compare.against([drawn("concat_mlp", BASE, 80, 20), drawn("x", BASE, 80, 20)], "accuracy")
    assert found.p == 1 == found.permutation and np.isnan(found.wilcoxon) and found.improvement == 0.5
    assert found.low == -found.high and found.high > 0.05, "another row may be right in every seed"
    assert found.effect == 0 and found.needed is None and not found.separated and found.nadeau_bengio == 1
    (unknown,) = compare.against([row("concat_mlp", BASE), row("x", BASE)], "accuracy")
    assert np.isnan([unknown.p, unknown.adjusted, unknown.low, unknown.high, unknown.effect]).all()


def test_the_best_row_of_each_kind():
    rows = [row("a", BASE), row("b", BASE + 0.1), row("c", BASE + 0.1), row("d", BASE, setting="inductive")]
    assert compare.best([*rows, row("e", [np.nan, 1.0]), row("f", None)], "accuracy") == (1, 3)
    assert compare.best([row("a", BASE, "rmse"), row("b", BASE + 1, "rmse")], "rmse") == (0,)


def test_with_few_seeds_it_is_said_what_they_cannot_show():
    assert compare.seeds_note(5) == "with five seeds no two-sided Wilcoxon test can be below .0625"
    assert compare.seeds_note(3) == "with three seeds no two-sided Wilcoxon test can be below .25"
    assert compare.seeds_note(1) == "with one seed no difference can be tested" and compare.seeds_note(6) is None
    for n in range(2, 6):
        smallest = paired.wilcoxon(np.arange(1.0, n + 1))
        assert compare.seeds_note(n).endswith(f"{smallest:g}"[1:])
