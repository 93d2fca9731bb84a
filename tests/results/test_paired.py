"""The tests on differences, against SciPy and statsmodels, published tables, and by hand."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from fusion_jax.results import paired

RNG = np.random.default_rng(0)
DIFFERENCES = [RNG.normal(0.3, 1, n) for n in (2, 5, 10, 16)]


@pytest.mark.parametrize("d", DIFFERENCES, ids=len)
def test_without_a_correction_it_is_the_paired_t_test(d):
    expected, found = stats.ttest_1samp(d, 0), paired.estimate(d)
    np.testing.assert_allclose(found.p(), expected.pvalue)
    np.testing.assert_allclose(found.interval(0.9), expected.confidence_interval(0.9))
    np.testing.assert_allclose(found.p(0.2), stats.ttest_1samp(d, 0.2).pvalue)
    np.testing.assert_allclose(found.above(0.1), stats.ttest_1samp(d, 0.1, alternative="greater").pvalue)
    np.testing.assert_allclose(found.below(0.1), stats.ttest_1samp(d, 0.1, alternative="less").pvalue)


@pytest.mark.parametrize("d", DIFFERENCES, ids=len)
def test_the_correction_of_nadeau_and_bengio(d):
    """t = mean / sqrt((1/n + n_test/n_train) s^2), n - 1 degrees of freedom: equation (5) of their paper."""
    n, test, train = len(d), 90, 810
    t = d.mean() / np.sqrt((1 / n + test / train) * d.var(ddof=1))
    found = paired.estimate(d, test / train)
    np.testing.assert_allclose(found.p(), 2 * stats.t.sf(abs(t), n - 1))
    assert found.df == n - 1 and found.interval()[0] < paired.estimate(d).interval()[0]


def test_seeds_and_rows_add_up():
    d = np.array([0.01, 0.03, 0.02, 0.05])
    seeds, rows = d.var(ddof=1) / 4, 0.0004
    found = paired.estimate(d, by_row=rows, rows=100)
    np.testing.assert_allclose(found.error**2, seeds + rows)
    np.testing.assert_allclose(found.df, (seeds + rows) ** 2 / (seeds**2 / 3 + rows**2 / 99))
    same = paired.estimate(np.full(4, 0.02), by_row=rows, rows=100)
    np.testing.assert_allclose(same.p(), 2 * stats.t.sf(1, 99))


def test_where_nothing_is_known_there_is_no_number():
    for d in ([], [0.3], [0.1, 0.1, 0.1], [0.0, 0.0]):
        found = paired.estimate(np.array(d), 0.5)
        assert np.isnan(found.p()) and np.isnan(found.interval()).all()
        assert np.isnan([found.above(-0.1), found.below(0.1), paired.effect(np.array(d))]).all()


@pytest.mark.parametrize("d", [np.zeros(4), np.full(4, 0.05), np.array([0.05, 0.048, 0.05, 0.052])], ids=str)
def test_the_spread_is_at_least_what_it_must_be(d):
    found, least = paired.estimate(d, 0.25, least=0.05), 0.05
    np.testing.assert_allclose(found.error**2, least**2 * (1 / 4 + 0.25))
    expected = 2 * stats.t.sf(d.mean() / least / np.sqrt(0.5), 3)
    assert found.df == 3 and found.p() == pytest.approx(expected) and expected > 0.2
    assert paired.effect(d, least) == d.mean() / least and paired.spread(d, least) == least
    wide = DIFFERENCES[1]
    assert paired.estimate(wide, 0.25, least=0.05) == paired.estimate(wide, 0.25), "it does not bind"


@pytest.mark.parametrize("d", [*DIFFERENCES, RNG.normal(0.3, 1, 30)], ids=len)
def test_the_signed_rank_test_is_scipys(d):
    np.testing.assert_allclose(paired.wilcoxon(d), stats.wilcoxon(d).pvalue)


@pytest.mark.parametrize(("n", "critical"), [(6, 0), (8, 3), (10, 8), (12, 13), (15, 25)])
def test_the_signed_rank_test_has_the_critical_values_of_its_tables(n, critical):
    """Two-sided .05: the largest rank sum that is significant, as printed (Wilcoxon and Wilcox, 1964)."""

    def with_rank_sum(total):
        ranks, negative = list(range(n, 0, -1)), set()
        for r in ranks:
            if r <= total:
                negative.add(r)
                total -= r
        return np.array([-r if r in negative else r for r in ranks], float)

    assert paired.wilcoxon(with_rank_sum(critical)) <= 0.05 < paired.wilcoxon(with_rank_sum(critical + 1))


def test_equal_ranks_and_zeros_are_exact_too():
    d = np.array([0.0, 0.1, 0.1, -0.1, 0.2, 0.2, 0.3])
    method = stats.PermutationMethod(n_resamples=np.inf)
    expected = stats.wilcoxon(d[1:], method=method).pvalue
    np.testing.assert_allclose(paired.wilcoxon(d), expected)
    np.testing.assert_allclose(paired.wilcoxon(np.array([0.3, 0.1 + 0.2, -0.1])), 0.5)  # equal but for the last bit
    assert np.isnan(paired.wilcoxon(np.zeros(4))) and np.isnan(paired.wilcoxon(np.array([])))
    assert paired.wilcoxon(np.ones(5)) == 0.0625


@pytest.mark.parametrize("d", DIFFERENCES[:3], ids=len)
def test_the_sign_flip_test_is_scipys(d):
    exact = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    np.testing.assert_allclose(paired.sign_flip(d), exact.pvalue)


def test_of_many_differences_signs_are_drawn_and_always_the_same():
    d = np.random.default_rng(3).normal(0.4, 1, 25)
    assert paired.sign_flip(d) == paired.sign_flip(d) > 0
    np.testing.assert_allclose(paired.sign_flip(d), stats.ttest_1samp(d, 0).pvalue, atol=0.02)
    assert paired.sign_flip(np.full(25, 5.0)) == 1 / (paired.DRAWN + 1), "never 0"
    assert paired.sign_flip(np.zeros(5)) == 1 and np.isnan(paired.sign_flip(np.array([])))


def test_the_effect_is_of_the_differences():
    d = DIFFERENCES[2]
    np.testing.assert_allclose(paired.effect(d), stats.ttest_1samp(d, 0).statistic / np.sqrt(len(d)))
    assert np.isnan([paired.effect(np.zeros(3)), paired.effect(np.ones(3)), paired.effect(d[:1])]).all()


def test_the_probability_of_improvement_counts_ties_half():
    share, low, high = paired.improvement(np.array([0.1, 0.0, 0.2, -0.1]))
    assert share == 0.625 and low < share < high
    expected = stats.binomtest(7, 10).proportion_ci(0.95, "wilson")
    np.testing.assert_allclose(paired.improvement(np.array([1.0] * 7 + [-1.0] * 3))[1:], expected)
    assert np.isnan(paired.improvement(np.array([]))).all()


def test_holm_is_that_of_statsmodels():
    for m in (1, 2, 7, 40):
        p = np.random.default_rng(m).uniform(size=m) ** 3
        np.testing.assert_allclose(paired.holm(p), multipletests(p, method="holm")[1])
    np.testing.assert_allclose(paired.holm(np.array([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])


def test_a_difference_of_rounding_alone_is_none():
    d = np.array([0.1, 0.2, 0.3, 0.4, -1e-17])
    assert paired.wilcoxon(d) == paired.wilcoxon(d[:4]) == 0.125
