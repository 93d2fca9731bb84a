"""The flat file: what a row is against, at full precision."""

import io

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fusion_jax.results.rendering import table as shared
from fusion_jax.results.rendering.csv import csv
from tests.rows import noisy, row


def test_the_comparison_with_the_baseline_stands_beside_the_scores():
    rows = [row("concat_mlp", noisy(0.7)), row("gmu", noisy(0.71, draw=1)), row("none", error="no")]
    found = pd.read_csv(io.StringIO(csv(rows, [shared.of(rows)]))).set_index("variant")
    test = stats.ttest_rel(rows[1].values["accuracy"], rows[0].values["accuracy"])
    assert found.loc["gmu", ["baseline", "metric"]].tolist() == ["concat_mlp (before)", "accuracy"]
    columns = ["difference", "difference_low", "difference_high", "p", "p_adjusted"]
    expected = [0.01, *test.confidence_interval(), test.pvalue, test.pvalue]
    np.testing.assert_allclose(found.loc["gmu", columns].astype(float), expected, rtol=1e-9)
    assert np.isnan(found.loc["concat_mlp", "difference"]) and found.loc["none", "error"] == "no"
    assert found.loc["gmu", "accuracy_mean"] == pytest.approx(0.71, abs=1e-12)


def test_without_tables_there_are_no_comparisons():
    assert "difference" not in csv([row("a", noisy(0.7))]).splitlines()[0]
