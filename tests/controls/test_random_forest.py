"""The random forest: scikit-learn's shares with one tree more that knows nothing, drawn from the seed."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from fusion_jax.controls.base import in_one_unit
from fusion_jax.controls.random_forest import RandomForest
from fusion_jax.data.base import Split


def data():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(size=(3, 5))[y] + rng.normal(size=(60, 5))
    return x, y, Split(np.arange(30), np.arange(30, 40), np.arange(40, 60))


def test_scores_are_the_log_of_scikit_learns_shares_and_of_a_tree_that_knows_nothing():
    x, y, split = data()
    z = in_one_unit(x, split.train)
    p = RandomForestClassifier(20, random_state=4).fit(z[:30], y[:30]).predict_proba(z)
    assert (p == 0).any(), "else nothing would be shown"
    scores = RandomForest(trees=20).predict(x, y, split, None, 3, 4)
    np.testing.assert_allclose(np.exp(scores), (20 * p + 1 / 3) / 21, rtol=1e-12)
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, rtol=1e-12)


def test_the_forest_is_the_seeds_own():
    x, y, split = data()
    a, again, b = (RandomForest(trees=10).predict(x, y, split, None, 3, seed) for seed in (0, 0, 1))
    assert np.array_equal(a, again) and not np.array_equal(a, b)


def test_no_trees():
    with pytest.raises(ValueError, match="'random_forest': trees=0, expected at least 1"):
        RandomForest(trees=0)
