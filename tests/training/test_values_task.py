"""Regression on nodes from data to metrics."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import base
from fusion_jax import merging, study
from fusion_jax.data import load
from fusion_jax.merging.average import average
from fusion_jax.results.restore import restore
from fusion_jax.results.store import Store
from fusion_jax.results.tables import rows
from fusion_jax.run.cell import run_cell
from tests import tiny

pytestmark = pytest.mark.xdist_group("values-task")
DATA = dict(nodes=300, dim=4)


@pytest.fixture(scope="module")
def data():
    return load("synthetic_values", **DATA)


def cell(changes=()):
    config = base.get_config()
    first = {
        "data.name": "synthetic_values",
        "data.options": DATA,
        "seeds": 2,
        "model.dim": 16,
        "model.rate": 0.0,
        "training.epochs": 80,
        "training.chunk": 80,
        "training.patience": 80,
    }
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
    plan = cell({"training.epochs": 3, "training.chunk": 3}).plan
    both = np.intersect1d(*(data.split(seed).test for seed in (0, 1)))
    values = data.target.values.copy()
    values[both] += 5
    other = dataclasses.replace(data, target=dataclasses.replace(data.target, values=values))
    a, b = (tiny.trained(plan, d, (0, 1)) for d in (data, other))
    for x, y in zip(jax.tree.leaves((a.params, a.prediction)), jax.tree.leaves((b.params, b.prediction)), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_loss_of_classes_is_refused(data):
    """late_logits brings a cross-entropy of its own; with a loss named it serves regression too."""
    late = {"model.placement": "decision", "model.fusion.name": "late_logits", "training.epochs": 2}
    plan = cell(late).plan
    with pytest.raises(ValueError, match="this data set has values: name a loss"):
        tiny.trained(plan, data, (0,))
    plan = cell({**late, "loss.name": "mse"}).plan
    trained = tiny.trained(plan, data, (0,))
    assert trained.prediction.shape == (1, 300, 1)


def results(data, folder, changes=()):
    """The metrics on test rows of both seeds, the stored predictions, and the restored cell."""
    store, made = Store(folder, create=True), cell(changes)
    identity = run_cell(made, store, data)["identity"]
    store.write_study([(identity, made)], "test")
    return rows(store)[0].values, store.table(identity, "predictions"), restore(store, identity, data=data)


def test_r2_does_not_depend_on_unit_and_origin_and_the_rest_is_in_its_own(data, tmp_path):
    y = data.target.values.astype(np.float64)
    found = {}
    for shift, unit in ((0, 1), (1e4, 1), (0, 1e5), (273.15, 1e-6)):
        values = y * unit + shift
        moved = dataclasses.replace(data, target=dataclasses.replace(data.target, values=values))
        metrics, table, restored = results(moved, tmp_path / f"{shift}-{unit}", {"training.epochs": 30})
        found[shift, unit] = metrics
        assert metrics["r2"].min() > 0.3
        np.testing.assert_allclose(metrics["r2"], found[0, 1]["r2"], atol=1e-3)
        for name in ("rmse", "mae"):
            np.testing.assert_allclose(metrics[name], found[0, 1][name] * unit, rtol=1e-3)
        for i in (0, 1):
            stored = table[table.seed == i]
            np.testing.assert_array_equal(np.stack(stored["values"]), values)
            np.testing.assert_allclose(restored.prediction(i), np.stack(stored["prediction"]), atol=1e-4 * unit)


def test_columns_of_different_units_are_learned_alike(data, tmp_path):
    """Beside a column a million times its size, the first is learned as beside itself."""
    y = data.target.values.astype(np.float64)
    both = {}
    for unit in (1, 1e6):
        target = dataclasses.replace(data.target, values=np.concatenate([y, -y * unit + unit], 1), num_outputs=2)
        _, table, _ = results(dataclasses.replace(data, target=target), tmp_path / f"{unit}", {"training.epochs": 30})
        both[unit] = np.stack(table["prediction"])
    np.testing.assert_allclose(both[1e6][:, 0], both[1][:, 0], atol=1e-3)
    np.testing.assert_allclose(both[1e6][:, 1] / 1e6, both[1][:, 1], atol=1e-3)


def test_networks_are_merged_in_the_units_of_the_anchor(data, tmp_path):
    """Seeds have splits, so units, of their own."""
    target = dataclasses.replace(data.target, values=data.target.values * 50 + 300)
    _, _, restored = results(dataclasses.replace(data, target=target), tmp_path / "s", {"training.epochs": 5})
    assert not np.array_equal(restored.prepared.units[0].shift, restored.prepared.units[1].shift)
    parents, anchor = merging.base.parents_of([restored])
    for i, parent in enumerate(parents):
        again = merging.base.merged(parent.model, parents, anchor).prediction
        np.testing.assert_allclose(again, restored.prediction(i), rtol=1e-4)
    assert 200 < average(parents, anchor).prediction.mean() < 400
    found = merging.merge([restored], ["ensemble", "average"], epochs=0)
    rmse = found.tables["table"].set_index("name").rmse
    best = rmse[["ensemble", "average"]].idxmin()
    assert rmse["ensemble"] <= rmse["mean of the networks"], "the ensemble of values is their mean"
    assert f"{best!r}" in found.sentence and f"rmse {rmse[best]:.3f}" in found.sentence
