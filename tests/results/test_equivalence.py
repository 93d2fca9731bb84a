"""Two one-sided tests, against statsmodels."""

import numpy as np
import pytest
from statsmodels.stats.weightstats import ttost_paired

from fusion_jax.results import paired
from fusion_jax.results.equivalence import equivalent
from tests.results.compared import drawn, row

A = np.array([0.80, 0.81, 0.79, 0.83, 0.80, 0.82])
B = A + np.array([0.01, -0.01, 0.0, 0.005, -0.005, 0.002])


@pytest.mark.parametrize("margin", [0.002, 0.006, 0.03])
def test_it_is_that_of_statsmodels(margin):
    found = equivalent(row("a", A), row("b", B), "accuracy", margin)
    np.testing.assert_allclose(found.p, ttost_paired(A, B, -margin, margin)[0])
    assert found.equivalent == (-margin < found.low and found.high < margin), "its interval lies within the margin"
    assert (found.low, found.high) == pytest.approx(paired.estimate(A - B).interval(0.90))


def test_overlapping_splits_make_it_harder():
    plain, corrected = (equivalent(a, b, "accuracy", 0.01) for a, b in made())
    assert plain.p < corrected.p and plain.high < corrected.high and "0.50" in corrected.method


def made():
    return (row("a", A), row("b", B)), (drawn("a", A, 1000, 500), drawn("b", B, 1000, 500))


def test_equal_rows_are_equivalent_and_unknown_ones_are_not():
    same = drawn("a", A, 1000, 200), drawn("b", A, 1000, 200)
    assert equivalent(*same, "accuracy", 0.02).equivalent and not equivalent(*same, "accuracy", 0.004).equivalent, (
        "what is less than a test row nobody knows"
    )
    assert np.isnan(equivalent(row("a", A), row("b", A), "accuracy", 0.1).p)
    found = equivalent(row("a", [0.5]), row("b", [0.5]), "accuracy", 0.1)
    assert np.isnan(found.p) and not found.equivalent
    with pytest.raises(ValueError, match="margin=0; expected a number above 0"):
        equivalent(row("a", A), row("b", B), "accuracy", 0)
