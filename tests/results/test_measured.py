"""Metrics of finished cells from their predictions: what ranked a seed, and a metric that came later."""

import numpy as np
import pandas as pd
import pytest

from fusion_jax import metrics, tasks, zoo
from fusion_jax.results.measured import about, measured, primary_values, validation
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from tests import tiny

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module", params=["honest", "paper"])
def finished(request, tmp_path_factory):
    store, cell = Store(tmp_path_factory.mktemp("r"), create=True), tiny.cell(seeds=3, protocol=request.param)
    with tiny.as_users_run():
        identity = run_cell(cell, store, tiny.dataset())["identity"]
    return store, identity


def recorded(store, identity, part, metric):
    table = store.table(identity, "metrics")
    return table[(table.part == part) & (table.metric == metric)].sort_values("seed").value.to_numpy()


def test_a_seed_is_ranked_by_the_rows_that_selected_it(finished):
    """Under protocol `paper` these are test rows."""
    store, identity = finished
    found = np.array([validation(store, identity, SEEDS)[seed] for seed in SEEDS])
    np.testing.assert_allclose(found[:, 0], recorded(store, identity, "val", "accuracy"), rtol=1e-12)
    np.testing.assert_allclose(found[:, 1], -recorded(store, identity, "val", "log_loss"), rtol=1e-12)


def test_what_is_measured_is_what_was_recorded(finished):
    store, identity = finished
    values = measured(store, identity, "test", SEEDS).values
    for metric, value in values.items():
        np.testing.assert_allclose(value, recorded(store, identity, "test", metric), rtol=1e-12)
    (columns,) = store.columns(identity, "predictions")
    rows = [int(((columns["seed"] == seed) & (columns["part"] == "train")).sum()) for seed in SEEDS]
    assert list(measured(store, identity, "test", SEEDS).trained) == rows and rows[0] > 0
    metric, value = primary_values(store, identity)
    assert metric == "accuracy"
    np.testing.assert_array_equal(value, recorded(store, identity, "test", "accuracy"))


def test_a_metric_that_came_later_reaches_it(finished, monkeypatch):
    class Later(metrics.Metric):
        heading, tasks = "mistakes", ("classes",)

        def __call__(self, rows):
            return float((rows.prediction.argmax(1) != rows.target.labels).sum())

    known, get = zoo.names, zoo.get
    monkeypatch.setattr(zoo, "names", lambda kind: known(kind) + ["later"] * (kind == "metric"))
    monkeypatch.setattr(zoo, "get", lambda kind, name: Later if name == "later" else get(kind, name))
    store, identity = finished
    found = measured(store, identity, "test", SEEDS)
    rows = np.array([len(r) for r in found.rows])
    np.testing.assert_allclose(found.values["later"], rows * (1 - found.values["accuracy"]), atol=1e-9)


def test_without_predictions_what_was_recorded_is_read_by_seed(tmp_path):
    """The lines of a table may be in any order; what none of its metrics tells is named."""
    store, cell, cost = Store(tmp_path, create=True), tiny.cell(), dict(parameters=1, seconds=1.0, seeds=3)
    values = {"accuracy": (0.5, 0.5, 0.6), "log_loss": (0.9, 0.7, 2.0)}
    lines = [(s, "val", name, v) for name, own in values.items() for s, v in enumerate(own)][::-1]
    for identity, rows in (("0" * 16, lines), ("1" * 16, [(0, "val", "speed", 1.0)])):
        table = pd.DataFrame(rows, columns=["seed", "part", "metric", "value"])
        store.write_part(identity, cell, SEEDS, dict(metrics=table), cost)
    found = measured(store, "0" * 16, "val", (0, 2))
    assert found.rows == found.scored == () and found.values.keys() == values.keys()
    for name, own in values.items():
        np.testing.assert_array_equal(found.values[name], [own[0], own[2]])
    ranks = validation(store, "0" * 16, SEEDS)
    assert sorted(ranks, key=ranks.get) == [0, 1, 2], "of equal accuracies the lower log-loss is better"
    error = tasks.of("values").primary
    table = pd.DataFrame([(s, "val", error, 0.5 - s / 10) for s in SEEDS], columns=["seed", "part", "metric", "value"])
    store.write_part("2" * 16, cell, SEEDS, dict(metrics=table), cost)
    ranks = validation(store, "2" * 16, SEEDS)
    assert metrics.sign(error) < 0 and sorted(ranks, key=ranks.get) == [0, 1, 2], "the lower error is better"
    with pytest.raises(ValueError, match=r"none of its metrics \(speed\) tells what it predicts"):
        about(store, "1" * 16)
