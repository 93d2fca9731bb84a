"""What a table says of its rows: places, marks, differences, costs, worked out by hand."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from fusion_jax.results.rendering import table as shared
from tests.rows import known, noisy, row

BASE = row("concat_mlp", noisy(0.7))


def test_best_and_second_of_each_protocol_and_setting():
    paper = [dataclasses.replace(r, protocol="paper") for r in (BASE, row("gmu", noisy(0.6, draw=1)))]
    rows = [BASE, row("a", noisy(0.8, draw=1)), row("b", noisy(0.6, draw=2)), *paper, known("theirs", 0.99)]
    table = shared.of(rows)
    assert table.places["accuracy"] == {1: 1, 0: 2, 3: 1}, "of two rows there is no second"
    assert shared.kinds(rows) == [("honest", "default"), ("paper", "default")]


def test_equal_means_share_their_place():
    a, b, c, d = (noisy(m, draw=k) for k, m in enumerate((0.8, 0.8, 0.7, 0.7)))
    ties = [row("a", a), row("b", b + 1e-16), row("c", c)]
    assert shared.of(ties).places["accuracy"] == {0: 1, 1: 1}, "two are best, so the next is no second"
    assert shared.of([*ties[1:], row("d", d)]).places["accuracy"] == {0: 1, 1: 2, 2: 2}
    assert shared.of(ties[:2]).places["accuracy"] == {0: 1, 1: 1}


def test_what_is_equal_depends_on_the_scale():
    assert shared.best_two({0: 1e-13, 1: 3e-13, 2: 2e-13}) == {1: 1, 2: 2}, "small numbers differ"
    assert shared.best_two({0: 3e6 + 1e-8, 1: 3e6, 2: 1.0, 3: np.nan}) == {0: 1, 1: 1}, "the last bits of large ones"
    assert shared.best_two({0: 0.0, 1: 0.0}) == {0: 1, 1: 1} and shared.best_two({0: np.nan}) == {}


def test_the_number_of_comparisons_is_that_of_the_correction():
    lost = noisy(0.6, draw=3)
    lost[2] = np.nan
    table = shared.of(
        [BASE, row("a", noisy(0.9, draw=1)), row("lost", lost), row("same", BASE.values["accuracy"] + 0.1)]
    )
    (found,) = (c for c in table.compared["accuracy"].values() if c.a.label == "a")
    assert table.corrected == {"accuracy": 2}, "of a row with a missing seed too; nothing is known of a constant"
    assert found.adjusted == pytest.approx(2 * found.p), "Holm over as many"


def test_which_of_several_baselines_is_whose_is_said():
    one = [BASE, row("gmu", noisy(0.75, draw=1))]
    after = [dataclasses.replace(r, placement="after") for r in one]
    assert shared.against([shared.of(one)]) == "concat_mlp (before)"
    names = "concat_mlp (before), concat_mlp (after)"
    assert shared.against([shared.of(one + after)]) == f"{names} (the one placed as the row is, else the first)"
    others = [dataclasses.replace(r, data="b") for r in after]
    assert shared.against([shared.of(one), shared.of(others)]) == names, "one in each table"


def test_seeds_in_words():
    some = [row("a", np.full(n, 0.7)) for n in (1, 3, 10)]
    texts = [shared.seeds_text(rows) for rows in (some, some[:1], some[1:2], [row("none", error="no")])]
    assert texts == ["1 to 10 seeds", "1 seed", "3 seeds", ""]


def test_of_errors_the_smallest_is_first():
    rows = [
        row(n, dict(rmse=noisy(m, draw=m)), task="values", primary="rmse") for n, m in (("a", 3), ("b", 1), ("c", 2))
    ]
    assert shared.of(rows).places["rmse"] == {1: 1, 2: 2}


def test_the_baseline_can_be_named_and_one_that_is_not_there_is_the_default():
    rows = [BASE, row("gmu", noisy(0.75, draw=1))]
    assert shared.baselines(shared.of(rows)) == ["concat_mlp (before)"]
    named = shared.of(rows, baseline="gmu")
    assert named.is_baseline(1) and not named.is_baseline(0) and named.mark("accuracy", 0) == "-"
    assert shared.baselines(shared.of(rows, baseline="tfn")) == ["concat_mlp (before)"]


def test_a_difference_with_its_interval_and_p_of_the_only_comparison():
    other = row("gmu", noisy(0.71, draw=1))
    table = shared.of([BASE, other])
    test = stats.ttest_rel(other.values["accuracy"], BASE.values["accuracy"])
    low, high = test.confidence_interval()
    assert shared.difference(table, 1) == (f"+0.010 [{low:.3f}, {high:.3f}]", f"{test.pvalue:.3f}")
    assert shared.difference(table, 1, percent=True)[0] == f"+1.0 [{100 * low:.1f}, {100 * high:.1f}]"
    assert shared.difference(table, 0) == ("baseline", "-")
    same = shared.of([BASE, row("same", BASE.values["accuracy"] - 1e-9)])
    assert shared.difference(same, 1)[0].startswith("+0.000"), "no negative zero"


def test_rows_that_share_no_seed_have_no_difference():
    base, other = row("concat_mlp", [0.6, 0.7], seeds=(0, 1)), row("gmu", [0.8], seeds=(2,))
    table = shared.of([base, other, row("mean", [0.7, 0.8], seeds=(1, 3))])
    assert [shared.difference(table, i) for i in (1, 2)] == [("-", "-"), ("+0.000", "-")]


def test_a_row_with_a_seed_that_has_no_value_is_compared_with_nothing():
    values = noisy(0.9, draw=1)
    values[3] = np.nan
    table = shared.of([BASE, row("gmu", values), row("mean", noisy(0.8, draw=2))])
    assert list(table.compared["accuracy"]) == [2] and shared.difference(table, 1) == ("-", "-")


def test_some_of_the_metrics():
    both = dict(accuracy=noisy(0.7), auc=noisy(0.9))
    table = shared.of([row("a", both, primary="auc")])
    assert table.metrics == ("accuracy", "auc") and table.only(None).metrics == ("auc",)
    assert table.only(["accuracy"]).metrics == ("accuracy",)
    with pytest.raises(ValueError, match=r"metrics='acuracy': no row of toy has it \(did you mean 'accuracy'\?\)"):
        table.only(["acuracy"])


def test_the_front_of_each_cost():
    rows = [
        BASE,
        row("cheap", noisy(0.6, draw=1), seconds=0.1),
        row("bad", noisy(0.5, draw=2), parameters=200, seconds=2.0),
    ]
    assert dict(shared.of(rows).front) == dict(parameters={0}, seconds={0, 1})


COSTS = {
    ("parameters", 1234567): "1,234,567",
    ("parameters", None): "-",
    ("flops", 1.26e9): "1.3 G",
    ("flops", 999.6): "1.0 k",
    ("flops", 12_345_678.0): "12 M",
    ("flops", 5.0): "5 ",
    ("peak_bytes", 35_000_000.0): "35 MB",
    ("seconds", 0.25): "0.2",
    ("compile_seconds", 10.06): "10.1",
}


@pytest.mark.parametrize("cost, value", COSTS)
def test_costs_in_few_characters(cost, value):
    assert shared.cost_text(dataclasses.replace(BASE, **{cost: value}), cost) == COSTS[cost, value]
    columns = shared.costs([dataclasses.replace(BASE, flops=1.0), BASE])
    assert columns == ["parameters", "flops", "seconds"], "those that some row has"


def test_p_has_three_digits_or_is_small():
    numbers = (0.0314, 0.0009, 0.9994, 0.9996, 1.0, np.nan)
    assert [shared.p_text(p) for p in numbers] == ["0.031", "<0.001", "0.999", ">0.999", ">0.999", "-"]
    assert [shared.p_text(p, equal=True) for p in numbers[:2]] == ["= 0.031", "< 0.001"]
    assert shared.p_text(1.0, equal=True) == "> 0.999"


def test_tests_that_differ_in_the_floor_of_the_spread_are_told_as_one():
    sizes = dict(train_rows=(40,) * 10, test_rows=(10,) * 10)
    calm, wild = row("calm", BASE.values["accuracy"] + 0.2, **sizes), row("wild", noisy(0.6, 0.3, draw=1), **sizes)
    base = dataclasses.replace(BASE, **sizes)
    said = "Nadeau-Bengio, test/train 0.25"
    assert shared.methods(shared.of([base, calm, wild])) == [f"{said}; spread at least one test row in some"]
    assert shared.methods(shared.of([base, calm])) == [f"{said}; spread at least one test row"]
    assert shared.methods(shared.of([base, wild])) == [said]
