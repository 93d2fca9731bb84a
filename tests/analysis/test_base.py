"""What analyses share: a mean over seeds with its interval, and what edges that were made from features still tell."""

import types

import numpy as np
import pytest
from scipy import stats

from fusion_jax.analysis.base import over_seeds, told_by_edges
from fusion_jax.data import load
from tests import tiny


def test_the_interval_over_seeds_is_students():
    each = np.array([0.5, 0.7, 0.65, 0.9])
    low, high = stats.t.interval(0.95, 3, each.mean(), stats.sem(each))
    assert over_seeds(each) == pytest.approx(dict(value=each.mean(), low=low, high=high))


def test_one_seed_tells_nothing_of_others_and_equal_ones_differ_by_nothing():
    one, same = over_seeds(np.array([0.5])), over_seeds(np.array([0.5, 0.5, 0.5]))
    assert one["value"] == 0.5 and np.isnan(one["low"]) and np.isnan(one["high"])
    assert same == dict(value=0.5, low=0.5, high=0.5)


def test_edges_that_were_made_from_features_are_said_to_tell_of_them():
    def cell(data, **changes):
        return types.SimpleNamespace(data=data, plan=tiny.cell(**changes).plan)

    assert told_by_edges(cell(tiny.dataset())) == ""
    found = told_by_edges(cell(load("digits"), data__views=("knn_pixels",)))
    assert found.startswith(" Edges made from features (knn, knn_pixels) stay as they are")
