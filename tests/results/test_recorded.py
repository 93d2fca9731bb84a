"""What is recorded of a trained cell: a line a seed and row, none of a seed without a result, numbers as they were."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fusion_jax.data import load
from fusion_jax.data.base import Split
from fusion_jax.results.recorded import history_table, metric_table, prediction_table
from tests import tiny

SEEDS = (0, 3)


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


@pytest.fixture(scope="module")
def ready(data):
    return tiny.prepared(tiny.cell().plan, data, SEEDS)


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(0).normal(size=(2, 60, 2)).astype(np.float32)


def test_predictions_have_a_line_a_seed_and_row_with_its_part_and_label(data, ready, logits):
    table = prediction_table(logits, data, ready, np.linspace(0, 1, 120).reshape(2, 60))
    assert list(table) == ["seed", "row", "part", "labels", "prediction", "uncertainty"] and len(table) == 120
    for i, seed in enumerate(SEEDS):
        own = table[table.seed == seed]
        np.testing.assert_array_equal(np.stack(own.prediction), logits[i])
        np.testing.assert_array_equal(own.labels, data.target.labels)
        np.testing.assert_array_equal(own.row, np.arange(60))
        for part in ("train", "val", "test"):
            np.testing.assert_array_equal(own.row[own.part == part], getattr(data.split(seed), part))
    assert table.uncertainty.dtype == np.float32 and "uncertainty" not in prediction_table(logits, data, ready)


def test_seeds_that_are_left_out_have_no_line(data, ready, logits):
    for table in (prediction_table, metric_table):
        found = table(logits, data, ready, leave_out={0: "diverged"})
        pd.testing.assert_frame_equal(found, table(logits, data, ready).query("seed == 3").reset_index(drop=True))
        assert set(found.seed) == {3}


def test_rows_outside_the_split_are_unused_and_a_part_without_rows_has_no_metric(data, ready, logits):
    none, (first, second) = np.array([], int), ready.splits
    few = dataclasses.replace(ready, splits=(Split(first.train[:3], none, first.test), second))
    table = prediction_table(logits, data, few)
    parts = table[table.seed == 0].part.value_counts()
    assert parts["unused"] == 57 - len(first.test) and parts["train"] == 3 and "val" not in parts
    metrics = metric_table(logits, data, few)
    assert set(metrics[metrics.seed == 0].part) == {"train", "test"}
    right = (logits[1].argmax(1) == data.target.labels)[second.val].mean()
    assert metrics.set_index(["seed", "part", "metric"]).value[3, "val", "accuracy"] == pytest.approx(right)


def test_values_keep_the_seconds_of_a_year():
    """float32 of 1e9 has no seconds."""
    data = load("synthetic_values", nodes=60)
    target = dataclasses.replace(data.target, values=data.target.values.astype(np.float64) + 1e9)
    data = dataclasses.replace(data, target=target)
    ready = tiny.prepared(tiny.cell().plan, data, (0,))
    table = prediction_table(data.target.values[None] + 0.25, data, ready)
    np.testing.assert_array_equal(np.stack(table["values"]), data.target.values)
    np.testing.assert_array_equal(np.stack(table.prediction), data.target.values + 0.25)


def test_a_history_ends_where_its_seed_stopped():
    history = dict(train_loss=np.array([[3.0, 2, 1], [4, np.nan, np.nan]]), val_loss=np.full((2, 3), np.nan))
    table = history_table(history, SEEDS)
    assert table[["seed", "epoch"]].to_numpy().tolist() == [[0, 0], [0, 1], [0, 2], [3, 0]]
    assert table.train_loss.tolist() == [3, 2, 1, 4] and table.val_loss.isna().all()


def test_ids_and_who_is_labelled_are_recorded_where_there_are_some():
    data = tiny.dataset()
    ready = tiny.prepared(tiny.cell().plan, data, (0, 1))
    logits = np.zeros((2, 60, 2))
    plain = prediction_table(logits, data, ready)
    assert "id" not in plain and "labelled" not in plain
    train = np.zeros(60, bool)
    train[np.concatenate([*vars(data.split(0)).values()])] = True
    named = dataclasses.replace(data, ids=[f"n{i}" for i in range(60)], labelled=train)
    table = prediction_table(logits, named, ready)
    assert table.id.tolist() == [f"n{i}" for i in range(60)] * 2 and table.labelled.tolist() == train.tolist() * 2
    assert table.drop(columns=["id", "labelled"]).equals(plain)
