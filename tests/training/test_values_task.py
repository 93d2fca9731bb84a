"""Regression on nodes from data to metrics."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import base
from experiments.train import run_cell, train_model
from fusion_jax import study
from fusion_jax.data import load
from fusion_jax.results.store import Store
from fusion_jax.results.tables import rows
from fusion_jax.training.prepare import prepare

pytestmark = pytest.mark.xdist_group("values-task")
DATA = dict(nodes=300, dim=4)


@pytest.fixture(scope="module")
def data():
    return load("synthetic_values", **DATA)


def cell(changes=()):
    config = base.get_config()
    first = {"data.name": "synthetic_values", "data.options": DATA, "seeds": 2, "model.dim": 16, "model.rate": 0.0,
             "training.epochs": 80, "training.chunk": 80, "training.patience": 80}  # fmt: skip
    for key, value in {**first, **dict(changes)}.items():
        study.set_key(config, key, value)
    return study.resolve(config)


def test_it_beats_what_a_node_alone_can_tell(data, tmp_path):
    """R^2 of the best model without graph is 0.54; rmse, mae and r2 agree with the stored predictions."""
    store, made = Store(tmp_path / "store", create=True), cell()
    identity = run_cell(made, store, data)["identity"]
    store.write_study([(identity, made)], "test")
    (row,) = rows(store)
    assert row.task == "values" and set(row.values) == {"rmse", "mae", "r2"}
    assert row.values["r2"].mean() > 0.6
    table = store.table(identity, "predictions")
    for seed in (0, 1):
        test = table[(table.seed == seed) & (table.part == "test")]
        error = np.stack(test["prediction"]) - np.stack(test["values"])
        spread = np.stack(test["values"]).var()
        np.testing.assert_allclose(row.values["rmse"][seed], np.sqrt((error**2).mean()), rtol=1e-5)
        np.testing.assert_allclose(row.values["mae"][seed], np.abs(error).mean(), rtol=1e-5)
        np.testing.assert_allclose(row.values["r2"][seed], 1 - (error**2).mean() / spread, rtol=1e-5)


def test_test_values_change_no_parameter(data):
    made = cell({"training.epochs": 3, "training.chunk": 3}).config
    both = np.intersect1d(*(data.split(seed).test for seed in (0, 1)))
    values = data.target.values.copy()
    values[both] += 5
    other = dataclasses.replace(data, target=dataclasses.replace(data.target, values=values))
    a, b = (train_model(made, d, prepare(made, d, (0, 1)), None) for d in (data, other))
    for x, y in zip(jax.tree.leaves((a.params, a.prediction)), jax.tree.leaves((b.params, b.prediction)), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_loss_of_classes_is_refused(data):
    """late_logits brings a cross-entropy of its own; with a loss named it serves regression too."""
    late = {"model.placement": "decision", "model.fusion.name": "late_logits", "training.epochs": 2}
    made = cell(late).config
    with pytest.raises(ValueError, match="this data set has values: name a loss"):
        train_model(made, data, prepare(made, data, (0,)), None)
    made = cell({**late, "loss.name": "mse"}).config
    trained = train_model(made, data, prepare(made, data, (0,)), None)
    assert trained.prediction.shape == (1, 300, 1)
