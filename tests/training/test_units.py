"""The units of a regression target: standardised on training rows, undone without loss."""

import dataclasses

import numpy as np
import pytest

from fusion_jax.records import Target
from tests import tiny


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


@pytest.mark.parametrize(("shift", "unit"), [(0, 1), (1e4, 1), (0, 1e5), (-300, 1e-6), (1e9, 1e-2)])
def test_values_are_standardised_on_training_rows_in_float64(data, shift, unit):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(60, 2)) * [1, 1000]
    target = Target("values", values=y * unit + shift, num_outputs=2)
    ready = tiny.prepared(tiny.cell().plan, dataclasses.replace(data, target=target), (0, 1))
    for i, split in enumerate(ready.splits):
        mean, std = y[split.train].mean(0), y[split.train].std(0)
        seen = np.isin(np.arange(60), np.concatenate([split.train, split.val]))[:, None]
        learned = np.asarray(ready.target.values[i])
        np.testing.assert_allclose(learned, np.where(seen, (y - mean) / std, 0), atol=2e-5)
        assert learned.dtype == np.float32
        back = np.where(seen, ready.own_units(learned, i), y * unit + shift)
        np.testing.assert_allclose(back, y * unit + shift, rtol=1e-12, atol=1e-6 * unit * 1000)


def test_a_value_that_is_constant_in_training_is_predicted_as_that(data):
    values = np.full((60, 1), 1e-7)
    values[data.split(0).test] = 2e-7
    constant = dataclasses.replace(data, target=Target("values", values=values))
    ready = tiny.prepared(tiny.cell().plan, constant, (0,))
    np.testing.assert_allclose(ready.own_units(np.zeros((1, 1)), 0), 1e-7, rtol=1e-12)
    assert np.isfinite(ready.target.values).all()
