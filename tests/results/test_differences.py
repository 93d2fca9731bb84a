"""Which test a pair of rows gets, from how the seeds' splits lie."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from fusion_jax.results import differences, paired, sequential
from fusion_jax.results.differences import difference
from tests.results.compared import drawn, fixed, row

RNG = np.random.default_rng(0)
A, B = RNG.uniform(size=(2, 8))


def test_of_rows_without_splits_it_is_student_t():
    found = difference(row("a", A), row("b", B), "accuracy")
    np.testing.assert_allclose(found.estimate.p(), stats.ttest_rel(A, B).pvalue)
    assert found.variance.method == "Student t" and found.seeds == tuple(range(8)) and found.ratio == 0
    stored = difference(row("a", A, cell="0"), row("b", B, cell="1"), "accuracy")
    assert stored.variance.method == "Student t (sizes of the splits are not stored: not corrected)"


def test_splits_that_are_drawn_anew_are_corrected_for_their_overlap():
    found, d = difference(drawn("a", A, 80, 20), drawn("b", B, 80, 20), "accuracy"), A - B
    t = d.mean() / np.sqrt((1 / 8 + 20 / 80) * d.var(ddof=1))
    np.testing.assert_allclose(found.estimate.p(), 2 * stats.t.sf(abs(t), 7))
    assert found.variance.method == "Nadeau-Bengio, test/train 0.25" and found.ratio == 0.25
    other = dataclasses.replace(drawn("b", B, 80, 20), splits=tuple("abcdefgh"))
    same = dataclasses.replace(drawn("a", A, 80, 20), splits=tuple("abcdefgx"))
    assert difference(same, other, "accuracy").variance.method.endswith("; their splits are not the same")
    half = difference(fixed("c", np.eye(8)), drawn("b", B, 80, 20), "accuracy")
    assert half.variance.method == "Nadeau-Bengio, test/train 0.25", "one of the rows is on splits of its own"


def test_a_little_more_test_than_training_rows_are_no_overlap_below_one():
    """1.25 test rows for one to train on: without what the rows say Nadeau and Bengio's ratio, with it its inverse."""
    a, b = drawn("a", A, 80, 100), drawn("b", B, 80, 100)
    alone = difference(a, b, "accuracy")
    assert alone.variance.method == "Nadeau-Bengio, test/train 1.25" and alone.ratio == 1.25
    psi = np.random.default_rng(4).normal(size=(2, 8, 180))
    a, b = (
        dataclasses.replace(r, met=np.arange(180), met_influence=dict(accuracy=own))
        for r, own in zip((a, b), psi, strict=True)
    )
    found, mean = difference(a, b, "accuracy"), (psi[0] - psi[1]).mean(0)
    assert found.variance.method.startswith("Nadeau-Bengio for training rows, train/test 0.80, and by test row")
    expected = (A - B).var(ddof=1) * (1 / 8 + 1 / 1.25) + mean.var(ddof=1) / 180
    np.testing.assert_allclose(found.estimate.error**2, expected)
    fewer = dataclasses.replace(a, train_rows=(100,) * 8), dataclasses.replace(b, train_rows=(100,) * 8)
    assert difference(*fewer, "accuracy").variance.method == "Nadeau-Bengio, test/train 1.00", "no more, nobody asks"


def with_rows(label, values, psi, met=None):
    psi = np.asarray(psi, float)
    met = np.arange(psi.shape[-1]) if met is None else met
    each = np.broadcast_to(psi, (len(values), len(met)))
    return drawn(label, values, 20, 80, met=met, met_influence=dict(accuracy=each))


def test_with_more_test_than_training_rows_the_rows_are_asked():
    of_a, of_b = RNG.normal(size=(2, 100))
    found, d = difference(with_rows("a", A, of_a), with_rows("b", B, of_b), "accuracy"), A - B
    seeds, rows = d.var(ddof=1) * (1 / 8 + 20 / 80), (of_a - of_b).var(ddof=1) / 100
    np.testing.assert_allclose(found.estimate.error**2, seeds + rows)
    np.testing.assert_allclose(found.ratio, 1 / 4 + rows / d.var(ddof=1))
    assert found.variance.overlap == 4 and "train/test 0.25, and by test row (McNemar)" in found.variance.method
    unknown = difference(drawn("a", A, 20, 80), with_rows("b", B, of_b), "accuracy")
    assert unknown.variance.method == "Nadeau-Bengio, test/train 4.00" and unknown.ratio == 4
    fewer = with_rows("b", B, of_b[1:], np.arange(1, 100))
    found = difference(with_rows("a", A, of_a), fewer, "accuracy")
    np.testing.assert_allclose(found.variance.by_row, (of_a - of_b)[1:].var(ddof=1) / 99)


def test_of_the_rows_what_the_seeds_in_question_say_counts():
    """A look's p is what it was when later seeds come: their test rows have no part in it."""
    rng = np.random.default_rng(2)
    psi = rng.normal(size=(2, 8, 60))
    psi[:, rng.random((8, 60)) < 0.2] = np.nan
    late = psi.copy()
    late[:, 4:] *= 30
    about = dict(looks=(4,), limit=8)
    p, again = (
        difference(
            *(dataclasses.replace(with_rows(*r), **about) for r in zip("ab", (A, B), x, strict=True)), "accuracy"
        )
        for x in (psi, late)
    )
    assert p.p() == again.p() and p.variance.by_row < again.variance.by_row / 9
    first = [with_rows(label, v[:4], x[:4]) for label, v, x in zip("ab", (A, B), psi, strict=True)]
    assert p.looks[4] == difference(*first, "accuracy").estimate
    unknown = psi.copy()
    unknown[0, 7] = np.nan
    a, b = (with_rows(label, v, x) for label, v, x in zip("ab", (A, B), unknown, strict=True))
    assert "by test row" not in difference(a, b, "accuracy").variance.method, "of one seed nothing is known"
    a = dataclasses.replace(a, values=dict(accuracy=np.r_[A[:7], np.nan]))
    assert "by test row" in difference(a, b, "accuracy").variance.method, "which is none of those in question"


def test_one_fit_on_fixed_rows_is_mcnemars_comparison():
    """a is right and b wrong on n10 rows, the other way round on n01: the statistic is that of the table, but that the
    variance is estimated under the alternative, and three equal seeds differ by a row each."""
    n, n10, n01 = 400, 40, 20
    right = np.ones((2, n))
    right[1, :n10], right[0, n10 : n10 + n01] = 0, 0
    a, b = (fixed(label, [r, r, r]) for label, r in zip("ab", right, strict=True))
    found = difference(a, b, "accuracy")
    rows = (n10 + n01 - (n10 - n01) ** 2 / n) * n / (n - 1)
    np.testing.assert_allclose((found.estimate.mean / found.estimate.error) ** 2, (n10 - n01) ** 2 / (rows + 1 / 3))
    judge = mcnemar([[n - n10 - n01, n10], [n01, 0]], exact=False, correction=False)
    assert found.estimate.p() == pytest.approx(judge.pvalue, rel=0.2)
    said = "Student t by seed and by test row (McNemar); spread at least one test row"
    assert found.variance.method == said and found.variance.overlap == 0


def test_rows_hold_what_seeds_do_not():
    """Seeds that only add noise to rows leave the variance over seeds alone; rows that differ add theirs."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(400, 6, 50))
    crossed = np.mean([differences.crossed(psi) for psi in noise])
    assert crossed < 0.4 / (6 * 50), "well below the variance that the noise has by itself"
    rows = rng.normal(size=(400, 1, 50)) * 2
    np.testing.assert_allclose(np.mean([differences.crossed(p) for p in noise + rows]), 4 / 50, rtol=0.05)
    np.testing.assert_allclose(differences.crossed(noise[0, :1]), noise[0, 0].var(ddof=1) / 50)


def test_only_common_seeds_with_a_value_are_compared():
    a = row("a", [0.9, 0.5, np.nan, 0.2], seeds=(0, 1, 2, 5))
    b = row("b", [0.3, 0.4, 0.4, 0.1], seeds=(1, 2, 5, 7))
    found = difference(a, b, "accuracy")
    assert found.seeds == (1, 5)
    np.testing.assert_allclose(found.values, [0.2, -0.2])
    one = difference(a, row("b", [0.3], seeds=(1,)), "accuracy")
    assert one.variance.method == "one common seed: nothing is known" and np.isnan(one.estimate.p())
    assert difference(a, row("b", [0.3], seeds=(7,)), "accuracy").variance.method.startswith("no common seed")


def test_of_fixed_rows_the_seeds_in_common_are_asked():
    rng = np.random.default_rng(0)
    right = rng.random((3, 40)) < rng.random(40)
    whole, some = fixed("a", right), fixed("b", ~right[::-1])
    some = dataclasses.replace(some, seeds=(1, 2, 3))  # its first seed is the other's second
    found = difference(whole, some, "accuracy")
    psi = whole.influence["accuracy"][1:] - some.influence["accuracy"][:2]
    np.testing.assert_allclose(found.variance.by_row, differences.crossed(psi))
    assert found.variance.by_row > 1 / 40**2


@pytest.mark.parametrize("apart", [0.0, 0.05])
def test_equal_differences_say_nothing_where_no_size_is_stored_or_the_metric_is_no_share(apart):
    error = [drawn(label, values, 80, 20, metric="rmse") for label, values in (("a", A), ("b", A - apart))]
    for found in (difference(row("a", A), row("b", A - apart), "accuracy"), difference(*error, "rmse")):
        assert "all seeds differ by the same: nothing is known" in found.variance.method
        assert np.isnan([found.p(), *found.interval(), found.effect]).all() and found.spread == 0


@pytest.mark.parametrize("apart", [0.0, 0.05])
def test_the_spread_of_a_share_is_at_least_one_test_row(apart):
    d = difference(drawn("a", A, 80, 20), drawn("b", A - apart, 80, 20), "accuracy")
    assert d.variance.method == "Nadeau-Bengio, test/train 0.25; spread at least one test row"
    np.testing.assert_allclose(d.estimate.error, 0.05 * np.sqrt(1 / 8 + 0.25))
    assert d.effect == pytest.approx(apart / 0.05) and d.ratio == 0.25 and d.p() > 0.1
    fewer = difference(drawn("a", A, 80, 20), drawn("b", A - apart, 80, 10), "accuracy")
    assert fewer.spread == 0.1, "of the row with fewer of them"


def test_one_patient_a_seed_is_no_difference_however_many_seeds_there_are():
    """Test parts of 20 to 29 rows: the differences 1/20, 1/21, ... are nearly the same."""
    sizes, base = tuple(range(20, 30)), np.full(10, 0.7)
    a, b = (
        dataclasses.replace(drawn(label, values, 80, 20), test_rows=sizes)
        for label, values in (("a", base + 1 / np.array(sizes)), ("b", base))
    )
    found = difference(a, b, "accuracy")
    assert found.spread == pytest.approx(1 / np.mean(sizes)) and found.p() > 0.05
    looked = [dataclasses.replace(r, looks=(5, 10), limit=20) for r in (a, b)]
    assert difference(*looked, "accuracy").p() > 0.05


@pytest.mark.parametrize("discordant", [0, 1])
def test_on_fixed_rows_one_of_them_is_the_least_that_other_rows_would_give(discordant):
    right = np.ones((4, 25))
    right[:, 12:] = 0
    other = right.copy()
    other[:, :discordant] = 0
    found = difference(fixed("a", right), fixed("b", other), "accuracy")
    np.testing.assert_allclose(found.variance.by_row, 1 / 25**2)
    np.testing.assert_allclose(found.estimate.error**2, (1 / 4 + 1) / 25**2)
    np.testing.assert_allclose(found.ratio, 1)
    assert "spread at least one test row" in found.variance.method and found.p() > 0.3


def test_seeds_that_differ_by_more_than_a_row_say_what_the_rows_add():
    """Right by chance at each seed, rows have no variance of their own: a floor would take the power away."""
    rng = np.random.default_rng(0)
    right = np.ones((10, 40), bool)
    a, b = fixed("a", right), fixed("b", rng.random((10, 40)) > 0.1)
    found = difference(a, b, "accuracy")
    assert np.std(found.values, ddof=1) > 1 / 40
    np.testing.assert_allclose(
        found.variance.by_row, differences.crossed(differences._influence(a, b, "accuracy", a.seeds))
    )
    assert "at least" not in found.variance.method
    half = fixed("c", [[0, *[1] * 39]] + [[1] * 40] * 9)
    found = difference(fixed("a", right), half, "accuracy")
    assert found.variance.by_row == pytest.approx(1 / 40**2 - np.var(found.values, ddof=1)), "both together are a row"


@pytest.mark.parametrize("apart", [0.0, 0.01, 0.05])
def test_a_share_of_pairs_moves_in_smaller_steps_than_a_row(apart):
    values = np.full(10, 0.8), 0.8 - apart * np.linspace(0.9, 1.1, 10)
    a, b = (drawn(label, own, 80, 20, metric="auc") for label, own in zip("ab", values, strict=True))
    found = difference(a, b, "auc")
    assert found.spread == pytest.approx(0.01 if apart else 0.05), "all the same are as uncertain as a row"
    assert ("at least one test row" in found.variance.method) and (found.p() < 0.05) == (apart == 0.05)


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 10])
def test_what_is_added_makes_p_larger_only(seeds):
    """Satterthwaite's degrees of freedom would rise with what is added, so that of few seeds p fell."""
    rng = np.random.default_rng(seeds)
    for rate in (0.001, 0.005, 0.02):
        for _ in range(20):
            a, b = (fixed(label, rng.random((seeds, 200)) > rate) for label in "ab")
            found, psi = difference(a, b, "accuracy"), a.influence["accuracy"] - b.influence["accuracy"]
            plain = paired.estimate(found.values, by_row=differences.crossed(psi), rows=200)
            assert np.isnan(plain.error) or found.p() >= plain.p() - 1e-12
            assert found.estimate.df <= max(seeds - 1, 199)


def test_a_metric_without_influence_asks_the_seeds_only():
    a, b = (fixed(label, np.random.default_rng(i).integers(0, 2, (4, 30))) for i, label in enumerate("ab"))
    a, b = (dataclasses.replace(r, influence={}) for r in (a, b))
    found = difference(a, b, "accuracy")
    assert "what other rows would give is not known" in found.variance.method
    np.testing.assert_allclose(found.estimate.p(), stats.ttest_rel(a.values["accuracy"], b.values["accuracy"]).pvalue)


def test_what_was_looked_at_while_seeds_were_added_is_judged_at_all_looks_together():
    limit, looks = dict(limit=20), (4, 8)
    a, b = drawn("a", A, 800, 200, looks=(4, 8), **limit), drawn("b", B, 800, 200, looks=(4, 8, 12), **limit)
    found = difference(a, b, "accuracy")
    each = [paired.estimate((A - B)[:n], 0.25).p() for n in looks]
    assert found.p() == sequential.sequential_p(each, looks, 20) > found.estimate.p()
    assert found.interval() == found.estimate.interval(1 - sequential.nominal(looks, 20, 0.05))
    assert found.variance.method == "Nadeau-Bengio, test/train 0.25; looked at 4, 8 of at most 20 seeds"
    d = np.r_[0.10, 0.11, 0.09, 0.10, -0.3, 0.2, -0.1, 0.1]
    first = difference(*(dataclasses.replace(r, values=dict(accuracy=v)) for r, v in ((a, B + d), (b, B))), "accuracy")
    each = [paired.estimate(d[:n], 0.25).p() for n in looks]
    assert each[0] < 0.01 < 0.1 < each[1], "the first look's is the clearest"
    assert first.p() == pytest.approx(sequential.sequential_p(each[:1], (4,), 20), rel=1e-9)
    none = difference(dataclasses.replace(a, looks=()), b, "accuracy")
    assert np.isnan(none.p()) and np.isnan(none.interval()).all() and "looked at none" in none.variance.method


def test_of_splits_of_other_sizes_the_larger_overlap_counts():
    a, b = drawn("a", A, 80, 20), drawn("b", B, 60, 40)
    for one, other in ((a, b), (b, a)):
        np.testing.assert_allclose(difference(one, other, "accuracy").ratio, 40 / 60)


def test_fixed_rows_whose_own_variance_is_less_than_a_row_say_so():
    psi = dict(tested=np.arange(20), influence=dict(accuracy=np.zeros((8, 20))), seeds=tuple(range(8)))
    found = difference(row("a", A, **psi), row("b", A + 0.01 * B, **psi), "accuracy")
    np.testing.assert_allclose(found.variance.by_row, 1 / 20**2 - np.var(0.01 * B, ddof=1))
    assert found.variance.method.endswith("; spread at least one test row")
    wide = difference(row("a", A, **psi), row("b", B, **psi), "accuracy")
    assert wide.variance.by_row == 0 and not wide.variance.method.endswith("one test row")
