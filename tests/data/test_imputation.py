"""What fills single missing values, fitted on allowed rows only."""

import numpy as np
import pytest
import scipy.sparse as sp

from fusion_jax.data.imputation import all_filled, filled, fit_fill, unknown_columns

X = np.array([[1, np.nan, np.nan], [3, 5, np.nan], [8, 7, 2], [100, 100, 100]], np.float32)
PRESENT = np.array([True, True, True, False])
ROWS = np.arange(4)


@pytest.mark.parametrize(("how", "wanted"), [("mean", [4, 6, 2]), ("median", [3, 6, 2])])
def test_the_fill_is_of_known_values_of_present_rows(how, wanted):
    np.testing.assert_array_equal(fit_fill(X, PRESENT, ROWS, how), wanted)
    np.testing.assert_array_equal(fit_fill(X, PRESENT, np.arange(4) < 2, how), [2, 5, 0])
    assert fit_fill(X, PRESENT, ROWS[:0], how).tolist() == [0, 0, 0]


def test_against_scikit_learn():
    from sklearn.impute import SimpleImputer

    rng = np.random.default_rng(0)
    x = np.where(rng.random((30, 5)) < 0.3, np.nan, rng.normal(size=(30, 5)))
    rows = rng.permutation(30)[:20]
    for how in ("mean", "median"):
        known = SimpleImputer(strategy=how).fit(x[rows])
        np.testing.assert_allclose(fit_fill(x, np.ones(30, bool), rows, how), known.statistics_, rtol=1e-6)
        made = filled(x, fit_fill(x, np.ones(30, bool), rows, how))
        np.testing.assert_allclose(made, known.transform(x), rtol=1e-6)


def test_columns_without_a_value_are_known():
    assert unknown_columns(X, PRESENT, ROWS[:2]).tolist() == [False, False, True]
    assert unknown_columns(X, PRESENT, ROWS[3:]).tolist() == [False] * 3, "no row at all: the modality is missing"


def test_what_has_no_gaps_is_the_same_array():
    whole = np.ones((2, 2), np.float32)
    assert filled(whole, np.zeros(2, np.float32)) is whole
    sparse = sp.csr_matrix(whole)
    made = all_filled({"a": X, "s": sparse}, np.ones((4, 2), bool), ROWS[:3], "mean")
    assert made["s"] is sparse and not np.isnan(made["a"]).any()
    assert all_filled({"a": X}, np.ones((4, 1), bool), ROWS, "")["a"] is X
