"""The answer in a sentence, for studies of which one knows what can be said."""

import dataclasses
import re

import numpy as np
import pytest
from scipy import stats

from fusion_jax.results import answer, tables
from tests.rows import known, noisy, row

BASE = row("concat_mlp", noisy(0.70))


def same(mean, draw=1, **fields):
    return noisy(mean, draw=draw, **fields)


def test_a_fusion_that_beats_the_baseline_is_named_with_its_difference_and_interval():
    better = row("gmu", same(0.75))
    low, high = stats.ttest_rel(better.values["accuracy"], BASE.values["accuracy"]).confidence_interval()
    said = answer.sentence([BASE, better, row("mean", same(0.70, 2))])
    expected = f"gmu (before) beats concat_mlp (before) by 5.0 points [{100 * low:.1f}, {100 * high:.1f}] of accuracy"
    assert said == f"{expected}; 10 seeds, untuned."


def test_where_none_differs_it_says_so_and_which_comes_closest():
    said = answer.sentence([BASE, row("gmu", same(0.701)), row("mean", same(0.699, 2))])
    assert said.startswith(
        "no difference in accuracy between concat_mlp (before) and the 2 other fusions survives correction "
        "(closest gmu (before), 0.1 points ["
    )
    assert "] ahead)" in said


def test_where_all_lose_it_says_how_many():
    said = answer.sentence([BASE, row("gmu", same(0.6)), row("mean", same(0.65, 2))])
    assert said.startswith(
        "none of the 2 other fusions beats concat_mlp (before) in accuracy (closest mean (before), 5.0"
    )
    assert "] behind), 2 are worse" in said


def test_rows_of_one_fusion_are_variants():
    said = answer.sentence([BASE, dataclasses.replace(row("wide", same(0.7)), fusion="concat_mlp")])
    assert "between concat_mlp (before) and the one other variant" in said


def test_what_the_graph_is_worth_is_of_the_same_fusion_without_it():
    without = row("concat_mlp, no graph", same(0.5), "before (no graph)", role="no graph", fusion="concat_mlp")
    other = row("gmu", same(0.72, 3))
    low, high = stats.ttest_rel(BASE.values["accuracy"], without.values["accuracy"]).confidence_interval()
    said = answer.sentence([other, BASE, without])
    assert f"the graph is worth 20.0 points [{100 * low:.1f}, {100 * high:.1f}]" in said
    assert "features alone explain 69 % of the best row" in said
    near = dataclasses.replace(without, values=dict(accuracy=same(0.6995)))
    assert "the graph is not shown to be worth anything" in answer.sentence([BASE, near])
    harmful = dataclasses.replace(without, values=dict(accuracy=same(0.8)))
    assert "the graph costs 10.0 points" in answer.sentence([BASE, harmful])


def test_what_structure_and_controls_explain():
    rows = [
        BASE,
        row("graph only", same(0.6), role="structure"),
        row("svm", same(0.35, 2), "-", role="control", fusion=""),
        row("m0", same(0.63, 4), role="modality"),
    ]
    said = answer.sentence(rows)
    assert "structure alone explains 86 %, one modality 90 % and svm 50 % of the best row" in said


def test_a_control_that_is_as_good_as_every_fusion_is_named():
    control = row("label_propagation", same(0.9), "-", role="control", fusion="")
    assert "no fusion scores above label_propagation, which has 0.900" in answer.sentence([BASE, control])


def test_errors_are_better_where_they_are_smaller_and_have_no_points():
    base = row("concat_mlp", dict(rmse=noisy(2.0)), primary="rmse", task="values")
    good = row("gmu", dict(rmse=same(1.5)), primary="rmse", task="values")
    said = answer.sentence([base, good])
    assert said.startswith("gmu (before) beats concat_mlp (before) by 0.500 of RMSE [0.")
    low, high = map(float, re.search(r"\[(.*), (.*)\]", said).groups())
    assert 0 < low < 0.5 < high


def test_seeds_tuning_and_what_is_missing_are_said():
    few = [row("concat_mlp", noisy(0.7, seeds=3)), row("gmu", noisy(0.7, seeds=3, draw=1))]
    assert answer.sentence(few).endswith("; only 3 seeds, untuned.")
    broken, waiting = row("tfn", error="ValueError: no"), row("lmf", error=tables.UNFINISHED)
    partly = row("moe (2 of 3 seeds: no)", noisy(0.7, seeds=2, draw=5), variant="moe", cell="c")
    said = answer.sentence([*few, broken, waiting, partly])
    assert "; of 5 rows 1 row failed, 1 is not finished, 1 lacks seeds" in said and "only 2 to 3 seeds" in said


def test_equal_and_unequal_budgets_of_tuning():
    tuned = [dataclasses.replace(r, trials=20) for r in (BASE, row("gmu", same(0.7)))]
    assert answer.sentence(tuned).endswith("10 seeds, each tuned with 20 trials.")
    assert answer.sentence([tuned[0], row("gmu", same(0.7))]).endswith("tuned with unequal budgets.")


def test_selection_on_test_rows_is_said():
    paper = [dataclasses.replace(r, protocol="paper") for r in (BASE, row("gmu", same(0.75)))]
    assert "rows of protocol paper were selected on test rows" in answer.sentence(paper)


def test_nothing_is_said_of_nothing():
    assert answer.sentence([]) == "Nothing can be said yet: no row has a result."
    waiting = answer.sentence([row("gmu", error=tables.UNFINISHED)])
    assert waiting == "Nothing can be said yet: no row has a result; of 1 rows 1 is not finished."
    assert answer.sentence([BASE]).startswith(
        "concat_mlp (before) alone has a result, accuracy 0.700 ± 0.010, and nothing"
    )
    one = [row("concat_mlp", [0.7]), row("gmu", [0.8])]
    said = answer.sentence(one)
    assert said.startswith("gmu (before) is ahead with accuracy 0.800, but with fewer than two common seeds nothing is")
    assert "beats" not in said and "only 1 seed" in said


def test_the_ceiling_and_what_others_report():
    rows = [BASE, row("gmu", same(0.7)), known("Bayes", 0.9), known("theirs", 0.95, tables.PUBLISHED)]
    assert "known: Bayes 0.900, published: theirs 0.950" in answer.sentence(rows)


def test_two_data_sets_have_clauses_of_their_own_and_share_the_limits():
    rows = [
        dataclasses.replace(r, data=data)
        for data, mean in (("a", 0.75), ("b", 0.70))
        for r in (BASE, row("gmu", same(mean)))
    ]
    said = answer.sentence(rows)
    assert said.startswith("On a gmu (before) beats concat_mlp (before) by 5.0 points") and said.count("seeds") == 1
    assert "; on b no difference in accuracy between concat_mlp (before) and the one other fusion" in said


def test_many_data_sets_are_summed_up():
    means = dict(a=0.75, b=0.75, c=0.70, d=0.69)
    rows = [dataclasses.replace(r, data=d) for d, m in means.items() for r in (BASE, row("gmu", same(m)))]
    said = answer.sentence(rows)
    assert said.startswith("Over 4 data sets concat_mlp (before) is beaten on 2, most often by gmu (before) (2)")
    assert f"best mean rank: gmu (before) ({np.mean([1, 1, 1.5, 2]):.1f} of 2)" in said


def test_ranks_over_data_sets_have_friedmans_p():
    means = dict(gmu=0.8, mean=0.6, lmf=0.65)
    rows = [
        dataclasses.replace(r, data=d)
        for d in "abcde"
        for r in (BASE, *(row(n, same(m, k)) for k, (n, m) in enumerate(means.items())))
    ]
    p = stats.friedmanchisquare(*[[m] * 5 for m in (0.7, *means.values())]).pvalue
    assert f"best mean rank: gmu (before) (1.0 of 4, Friedman p = {p:.3f})" in answer.sentence(rows)


@dataclasses.dataclass
class Claim:
    verdict: str


def test_claims_come_first():
    claims = [Claim("holds"), Claim("holds"), Claim("undecided"), Claim("fails")]
    said = answer.sentence([BASE, row("gmu", same(0.7))], claims=claims)
    assert said.startswith("Of 4 claims 2 hold, 1 fails, 1 is undecided; no difference")


@pytest.mark.parametrize("datasets", [1, 3, 12])
def test_it_is_one_line_of_bounded_length_whatever_the_study(datasets):
    rows = []
    for k in range(datasets):
        data = f"a data set of a very long name, number {k} (options={'x' * 60})"
        for i in range(20):
            label = f"a mechanism with many options, model.fusion.options.heads={i}"
            rows.append(row(label, noisy(0.5 + i / 100, draw=i), data=data))
        rows.append(row(f"{label}, no graph", same(0.4), "before (no graph)", role="no graph", fusion=label, data=data))
        rows.append(known("the best there can be under all circumstances " * 3, 0.9, data=data))
    said = answer.sentence(rows)
    assert "\n" not in said and 40 < len(said) <= answer.LIMIT and said.endswith(".")
