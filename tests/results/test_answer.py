"""The answer in a sentence, for studies of which one knows what can be said."""

import dataclasses
import re

import numpy as np
import pytest
from scipy import stats

from fusion_jax.results import answer
from fusion_jax.results.row import PUBLISHED, UNFINISHED
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
        "No difference in accuracy between concat_mlp (before) and the 2 other fusions survives correction "
        "(furthest ahead gmu (before), by 0.1 points ["
    )
    assert said.endswith("]); 10 seeds, untuned.")
    behind = answer.sentence([BASE, row("gmu", same(0.698)), row("mean", same(0.699, 2))])
    assert "(closest mean (before), 0.1 points [" in behind and "] behind)" in behind


def test_where_all_lose_it_says_how_many():
    said = answer.sentence([BASE, row("gmu", same(0.6)), row("mean", same(0.65, 2))])
    assert said.startswith(
        "None of the 2 other fusions beats concat_mlp (before) in accuracy (closest mean (before), 5.0"
    )
    assert "] behind), 2 are worse" in said


def test_where_the_baseline_has_no_graph_fusions_without_it_are_fusions_too():
    """As in a study before layers without edges, where only those fusions have the graph that read it themselves."""

    def bare(label, values, **fields):
        return row(label, values, "before (no graph)", **{"role": "no graph", **fields})

    base, reads = bare("concat_mlp", BASE.values["accuracy"]), row("visor", same(0.699, 2))
    said = answer.sentence([base, bare("flickerformer", same(0.75)), reads])
    assert said.startswith("flickerformer (before (no graph)) beats concat_mlp (before (no graph)) by 5.0 points [")
    none = answer.sentence([base, bare("flickerformer", same(0.701)), reads])
    assert "concat_mlp (before (no graph)) and the 2 other fusions survives" in none and "features alone" not in none
    far = answer.sentence([base, bare("flickerformer", same(0.701)), row("visor", same(0.8, 2))])
    assert far.startswith("visor (before) beats") and "features alone reach 0.701, the best fusion 0.800" in far
    only = answer.sentence([base, bare("flickerformer", same(0.75))])  # nobody has the graph
    assert only.startswith("flickerformer (before (no graph)) beats concat_mlp (before (no graph)) by 5.0 points [")
    assert "features alone" not in only


def test_rows_of_one_fusion_are_variants():
    said = answer.sentence([BASE, dataclasses.replace(row("wide", same(0.7)), fusion="concat_mlp")])
    assert "between concat_mlp (before) and the one other variant" in said
    rows = [on_graph(), dataclasses.replace(row("gat", same(0.72, 3)), fusion="concat_mlp"), without(0.5)]
    assert "features alone reach 0.500, the best model 0.720" in answer.sentence(rows)
    control = row("svm", same(0.9, 2), "-", role="control", fusion="")
    assert "no model has a better mean than svm" in answer.sentence([*rows, control])


def on_graph(values=BASE.values["accuracy"], **fields):
    return row("concat_mlp", values, without_graph="x", **fields)


def without(values, draw=1, placement="before", label="concat_mlp, no graph", digest="x"):
    made = row(label, same(values, draw), f"{placement} (no graph)", role="no graph", fusion="concat_mlp")
    return dataclasses.replace(made, without_graph=digest)


def test_what_the_graph_is_worth_is_of_the_same_row_without_it():
    low, high = stats.ttest_rel(BASE.values["accuracy"], same(0.5)).confidence_interval()
    said = answer.sentence([row("gmu", same(0.72, 3), without_graph="y"), on_graph(), without(0.5)])
    assert f"the graph is worth 20.0 points [{100 * low:.1f}, {100 * high:.1f}] to concat_mlp" in said
    assert "features alone reach 0.500, the best fusion 0.720" in said
    said = answer.sentence([on_graph(), without(0.699)])
    assert (
        "the graph is not shown to be worth anything to concat_mlp (0.1 points [" in said and "ahead with it)" in said
    )
    assert "the graph costs concat_mlp 10.0 points" in answer.sentence([on_graph(), without(0.8)])


def test_a_row_that_differs_in_more_than_the_graph_says_nothing_of_it():
    wide = row("concat_mlp, dim=64", same(0.9, 2), fusion="concat_mlp", without_graph="wide")
    said = answer.sentence([on_graph(), wide, without(0.5)])
    assert "the graph is worth 20.0 points" in said, "not of the best row of that fusion"
    assert "the graph" not in answer.sentence([on_graph(), wide, without(0.5, digest="other")])
    assert "the graph" not in answer.sentence([BASE, without(0.5, digest="")]), "not known of either"


def paired_to(base, p, seeds=10):
    """Values whose mean is below those of `base` with exactly this p of Student's paired test."""
    d = noisy(0.0, seeds=seeds, draw=9)
    return base - d - stats.t.isf(p / 2, seeds - 1) * d.std(ddof=1) / np.sqrt(seeds)


@pytest.mark.parametrize("p, shown", [(0.2, False), (0.06, False), (0.04, True)])
def test_the_graph_is_shown_to_be_worth_something_at_five_percent(p, shown):
    base = BASE.values["accuracy"]
    none = dataclasses.replace(without(0.5), values=dict(accuracy=paired_to(base, p)))
    assert stats.ttest_rel(base, none.values["accuracy"]).pvalue == pytest.approx(p)
    said = answer.sentence([on_graph(), none])
    assert ("the graph is worth" in said) == shown and ("the graph is not shown" in said) == (not shown)


def test_what_is_compared_beside_the_baseline_is_corrected():
    base = BASE.values["accuracy"]
    none = dataclasses.replace(without(0.5), values=dict(accuracy=paired_to(base, 0.04)))
    more = [row("gmu", same(0.7, 5), without_graph="y"), without(0.6995, 6, label="gmu, no graph", digest="y")]
    assert "the graph is worth" in answer.sentence([on_graph(), none])
    assert "the graph is not shown to be worth anything to concat_mlp" in answer.sentence([on_graph(), none, *more])


def test_features_alone_are_the_best_row_that_sees_no_edge():
    alone = row("m0", same(0.65, 4), "before (no graph)", role="modality", fusion="mean")
    said = answer.sentence([on_graph(), without(0.5), without(0.6, 2, "after", "wide", "w"), alone])
    assert "one modality reaches 0.650 and features alone 0.650, the best fusion 0.700" in said


def test_the_baseline_at_another_place_is_no_other_fusion():
    after = row("concat_mlp", same(0.6995, 1), "after")
    gmu = [row("gmu", same(0.69, 2)), row("gmu", same(0.68, 3), "after")]
    said = answer.sentence([BASE, after, *gmu])
    assert said.startswith("No") and "concat_mlp and the 2 other" in said.replace("None of", "concat_mlp and")
    assert "(closest gmu (before), 1.0 points" in said
    said = answer.sentence([BASE, row("concat_mlp", same(0.6), "after")])
    assert said.startswith("concat_mlp (after) is worse than concat_mlp (before) by 10.0 points [")
    said = answer.sentence([BASE, row("concat_mlp", same(0.699), "after")])
    assert said.startswith("No difference in accuracy between concat_mlp (before) and its one other place survives")
    better = answer.sentence([row("gmu", same(0.9, 4)), BASE, row("concat_mlp", same(0.8), "after")])
    assert "concat_mlp after is 10.0 points [" in better and "] ahead of concat_mlp before" in better


def test_what_structure_and_controls_explain():
    rows = [
        BASE,
        row("graph only", same(0.6), role="structure"),
        row("svm", same(0.35, 2), "-", role="control", fusion=""),
        row("m0", same(0.63, 4), role="modality"),
    ]
    said = answer.sentence(rows)
    assert "structure alone reaches 0.600, one modality 0.630 and svm 0.350, the best fusion 0.700" in said


def test_a_control_that_is_as_good_as_every_fusion_is_named():
    control = row("label_propagation", same(0.9), "-", role="control", fusion="")
    said = answer.sentence([BASE, control, row("graph only", same(0.6), role="structure")])
    assert "no fusion has a better mean than label_propagation, which has 0.900" in said
    tie = row("svm", BASE.values["accuracy"], "-", role="control", fusion="")
    assert "no fusion has a better mean than svm" in answer.sentence([BASE, tie])
    assert "structure alone reaches 0.600, the best fusion 0.700" in said and said.count("0.900") == 1


def test_errors_are_better_where_they_are_smaller_and_have_no_points():
    base = row("concat_mlp", dict(rmse=noisy(2.0)), primary="rmse", task="values")
    good = row("gmu", dict(rmse=same(1.5)), primary="rmse", task="values")
    said = answer.sentence([base, good])
    assert said.startswith("gmu (before) beats concat_mlp (before) by 0.500 of RMSE [0.")
    low, high = map(float, re.search(r"\[(.*), (.*)\]", said).groups())
    assert 0 < low < 0.5 < high


def test_of_errors_the_smaller_is_ahead_and_not_worse():
    def errors(label, mean, draw, **fields):
        return row(label, dict(rmse=noisy(mean, draw=draw)), primary="rmse", task="values", **fields)

    base, near, far = errors("concat_mlp", 2.0, 0, without_graph="x"), errors("gmu", 2.1, 1), errors("lmf", 2.5, 2)
    none = errors("concat_mlp, no graph", 2.4, 4, placement="before (no graph)", role="no graph", without_graph="x")
    control = errors("forest", 1.9, 3, placement="-", role="control", fusion="")
    said = answer.sentence([base, far, near, none, control])
    assert said.startswith(
        "None of the 2 other fusions beats concat_mlp (before) in RMSE (closest gmu (before), 0.100 of"
    )
    assert "] behind), 2 are worse, no fusion has a better mean than forest, which has 1.900" in said
    assert (
        "the graph is worth 0.400 of RMSE [0." in said and "features alone reach 2.400, the best fusion 2.000" in said
    )
    ahead = answer.sentence([base, errors("gmu", 1.999, 1), errors("lmf", 2.001, 2)])
    assert "(furthest ahead gmu (before), by 0.001 of RMSE [" in ahead


def test_seeds_tuning_and_what_is_missing_are_said():
    few = [row("concat_mlp", noisy(0.7, seeds=3)), row("gmu", noisy(0.7, seeds=3, draw=1))]
    assert answer.sentence(few).endswith("; only 3 seeds, untuned.")
    broken, waiting = row("tfn", error="ValueError: no"), row("lmf", error=UNFINISHED)
    partly = row("moe (2 of 3 seeds: no)", noisy(0.7, seeds=2, draw=5), variant="moe", cell="c")
    said = answer.sentence([*few, broken, waiting, partly])
    assert "; of 5 rows 1 row failed, 1 is not finished, 1 lacks seeds" in said and "only 2 to 3 seeds" in said


@pytest.mark.parametrize("seeds, few", [(5, True), (6, False)])
def test_fewer_than_six_seeds_are_few(seeds, few):
    said = answer.sentence([row("concat_mlp", noisy(0.7, seeds=seeds)), row("gmu", noisy(0.7, seeds=seeds, draw=1))])
    assert said.endswith(f"; {'only ' * few}{seeds} seeds, untuned.")


def test_equal_and_unequal_budgets_of_tuning():
    names = {name: f"{name} (tuned, 20 trials)" for name in ("concat_mlp", "gmu")}
    tuned = [row(label, noisy(0.7, draw=i), fusion=f, trials=20) for i, (f, label) in enumerate(names.items())]
    said = answer.sentence(tuned)
    assert said.endswith("10 seeds, each tuned with 20 trials.") and "between concat_mlp (before) and the one" in said
    assert said.count("tuned") == 1, "what all rows have in common is said once"
    assert names["concat_mlp"] in answer.sentence([*tuned, row("mean", noisy(0.7, draw=3))])
    assert answer.sentence([tuned[0], row("gmu", same(0.7))]).endswith("tuned with unequal budgets.")


def test_selection_on_test_rows_is_said():
    paper = [dataclasses.replace(r, protocol="paper") for r in (BASE, row("gmu", same(0.75)))]
    assert "rows of protocol paper were selected on test rows" in answer.sentence(paper)


def test_nothing_is_said_of_nothing():
    assert answer.sentence([]) == "Nothing can be said yet: no row has a result."
    waiting = answer.sentence([row("gmu", error=UNFINISHED)])
    assert waiting == "Nothing can be said yet: no row has a result; of 1 row 1 is not finished."
    assert answer.sentence([BASE]).startswith(
        "concat_mlp (before) alone has a result, accuracy 0.700 ± 0.010, and nothing"
    )
    one = [row("concat_mlp", [0.7]), row("gmu", [0.8])]
    said = answer.sentence(one)
    assert said.startswith("gmu (before) is ahead with accuracy 0.800, but with fewer than two common seeds nothing is")
    assert "beats" not in said and "only 1 seed" in said
    alike = answer.sentence([BASE, row("gmu", BASE.values["accuracy"] + 0.1)])
    assert "gmu (before) is ahead with accuracy 0.800 ± 0.010, but no difference can be tested; 10" in alike
    failed = row("concat_mlp", error="it broke")
    lone = answer.sentence([failed, row("gmu", noisy(0.8)), row("mean", noisy(0.7))])
    assert "gmu (before) is ahead with accuracy 0.800 ± 0.010, but the baseline has no value to compare with" in lone


def test_the_ceiling_and_what_others_report():
    rows = [BASE, row("gmu", same(0.7)), known("Bayes", 0.9), known("theirs", 0.95, PUBLISHED)]
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


def test_tasks_of_one_data_set_are_told_apart():
    def values(made):
        return row(made.label, dict(rmse=made.values["accuracy"]), task="values", primary="rmse")

    rows = [BASE, row("gmu", same(0.75))]
    said = answer.sentence([*rows, *map(values, rows)])
    assert (
        said.startswith("By accuracy gmu (before) beats") and "; by RMSE gmu (before) is worse than concat_mlp" in said
    )


def test_many_data_sets_are_summed_up():
    means = dict(a=0.75, b=0.75, c=0.70, d=0.69)
    rows = [dataclasses.replace(r, data=d) for d, m in means.items() for r in (BASE, row("gmu", same(m)))]
    said = answer.sentence(rows)
    assert said.startswith("Over 4 data sets concat_mlp (before) is beaten on 2, most often by gmu (before) (2)")
    assert f"best mean rank: gmu (before) ({np.mean([1, 1, 1.5, 2]):.1f} of 2)" in said
    equal = in_settings(("e", "honest", "default"), ("f", "honest", "default"), mean=0.7)
    none = answer.sentence([r for r in rows if r.data in "cd"] + equal)
    assert none.startswith("Over 4 data sets no fusion beats concat_mlp (before) on any after correction")


def in_settings(*triples, mean=0.75):
    return [
        dataclasses.replace(r, data=data, setting=setting, protocol=protocol)
        for data, protocol, setting in triples
        for r in (BASE, row("gmu", same(mean)), row("lmf", same(mean - 0.01, 2)))
    ]


def test_a_data_set_counts_once_whatever_its_settings():
    kinds = [(data, protocol, setting) for data in "ab" for protocol in ("honest", "paper") for setting in "st"]
    said = answer.sentence(in_settings(*kinds))
    assert said.startswith("Over 2 data sets concat_mlp (before) is beaten on 2, most often by gmu (before) (2)")
    assert "rank" not in said, "which of four columns stands for a data set is not clear"
    common = [*(kind for kind in kinds if kind[0] == "a"), ("b", "honest", "s")]
    matrix = [[3, 1, 2], [3, 1, 2]]
    said = answer.sentence(in_settings(*common))
    p = stats.friedmanchisquare(*np.transpose(matrix)).pvalue
    assert "Over 2 data sets" in said and f"best mean rank: gmu (before) (1.0 of 3, Friedman p = {p:.3f})" in said


def test_settings_of_one_data_set_are_no_data_sets():
    said = answer.sentence(in_settings(*(("a", "honest", s) for s in "stuv")))
    assert said.startswith(
        "Over 4 protocols and settings concat_mlp (before) is beaten in 4, most often by gmu (before) (4)"
    )
    assert "rank" not in said and "data sets" not in said


def test_on_how_many_data_sets_the_graph_helps_is_after_correction():
    base = BASE.values["accuracy"]
    values = dict(a=same(0.5), b=paired_to(base, 0.04), c=same(0.8), d=paired_to(base, 0.3))
    rows = [
        dataclasses.replace(r, data=data)
        for data, none in values.items()
        for r in (on_graph(), dataclasses.replace(without(0.5), values=dict(accuracy=none)))
    ]
    assert "the graph helps on 2 of 4" in answer.sentence(
        [*rows, *in_settings(*((d, "honest", "default") for d in "abcd"))]
    )


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
    nothing = answer.sentence([row("gmu", error=UNFINISHED)], claims=claims[2:3])
    assert nothing.startswith(
        "Of 1 claim 1 is undecided; nothing can be said yet: no row has a result; of 1 row 1 is not"
    )


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


def test_what_another_place_costs_the_best_fusion_is_corrected_too():
    best, base = row("gmu", same(0.75, 1)), BASE.values["accuracy"]
    after = row("gmu", paired_to(best.values["accuracy"], 0.04), "after")
    assert "gmu before is " in answer.sentence([BASE, best, after])
    assert " ahead of gmu after" in answer.sentence([BASE, best, after])
    late = dataclasses.replace(
        after, placement="decision", values=dict(accuracy=paired_to(best.values["accuracy"], 0.6))
    )
    assert "gmu before is " not in answer.sentence([BASE, best, after, late]), "one of two places"
    none = dataclasses.replace(without(0.5), values=dict(accuracy=paired_to(base, 0.3)))
    assert "gmu before is " not in answer.sentence([on_graph(), best, after, none]), "the graph is of the same family"
