"""Intervals of a metric from the influence of its rows, against others."""

import numpy as np
import pytest
from scipy import stats

from fusion_jax import metrics
from fusion_jax.metrics.base import Scored
from fusion_jax.records import Target
from fusion_jax.results import influence


def test_the_interval_of_a_mean_is_students():
    psi = np.random.default_rng(0).normal(size=50)
    low, high = stats.t.interval(0.95, 49, loc=0, scale=stats.sem(psi))
    assert influence.half_width(psi) == pytest.approx(high) == pytest.approx(-low)
    assert influence.half_width(psi[:1]) == np.inf


def test_wilsons_interval_is_scipys():
    for right, rows in ((85, 106), (0, 20), (20, 20), (1, 2)):
        expected = stats.binomtest(right, rows).proportion_ci(0.95, "wilson")
        np.testing.assert_allclose(influence.wilson(right / rows, rows), expected, atol=1e-12)


def classes(n=120, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return Scored(Target("classes", labels=labels, num_outputs=2), rng.normal(size=(n, 2)) + np.eye(2)[labels])


def survival(n=90, seed=0):
    rng = np.random.default_rng(seed)
    time, event = rng.exponential(size=n).astype(np.float32), rng.integers(0, 2, n).astype(bool)
    target = Target("survival", time=time, event=event, num_outputs=1)
    return Scored(target, (rng.normal(size=n) - np.log(time))[:, None])


def test_of_a_metric_that_knows_no_influence_groups_of_rows_are_left_out():
    rows = survival()
    psi = influence.jackknife([rows])
    assert set(psi) >= {"c_index"} and psi["c_index"].shape == (1, 90)
    spread = psi["c_index"].std() / np.sqrt(90)
    rng, again = np.random.default_rng(1), []
    for _ in range(300):
        chosen = rng.integers(0, 90, 90)
        target = Target("survival", time=rows.target.time[chosen], event=rows.target.event[chosen], num_outputs=1)
        again.append(metrics.scores([Scored(target, rows.prediction[chosen])])["c_index"][0])
    assert spread == pytest.approx(np.std(again), rel=0.35), "as the bootstrap says"
    assert influence.of_shared_rows([rows]).keys() >= {"c_index"} and influence.of_shared_rows([]) == {}
    shared = influence.of_shared_rows([classes()] * 2)
    assert all((psi == metrics.influences([classes()] * 2)[m]).all() for m, psi in shared.items())


def test_the_jackknife_of_a_mean_is_its_variance():
    """Of accuracy, with a group a row, it is the influence itself."""
    rows = classes(25)
    known = metrics.influences([rows])["accuracy"]
    found = influence.jackknife([rows], ["auc"])["accuracy"]
    assert "auc" not in influence.jackknife([rows], ["auc"])
    np.testing.assert_allclose(found.var(ddof=1), known.var(ddof=1), rtol=0.05)
    np.testing.assert_allclose(found / found.std(), known / known.std(), atol=1e-6)


def test_rows_that_several_seeds_test_have_the_mean_of_what_they_do_there():
    rows = [np.array([3, 5, 9]), np.array([9, 1, 3])]
    known = [dict(a=np.array([[1.0, 2, 3]]), b=np.ones((1, 3))), dict(a=np.array([[5.0, 6, 7]]))]
    met, found = influence.by_seed(rows, known)
    np.testing.assert_array_equal(met, [1, 3, 5, 9])
    np.testing.assert_array_equal(found["a"], [[np.nan, 1, 2, 3], [6, 7, np.nan, 5]])
    np.testing.assert_allclose(influence.over_seeds(found["a"]), [6, 4, 2, 4])
    np.testing.assert_array_equal(influence.over_seeds(found["a"][:1]), [np.nan, 1, 2, 3])
    assert np.isnan(influence.over_seeds(found["b"])).all(), "of what some seed does not know nothing is known"
