"""What ranks the seeds of a cell, and the metrics of results without stored predictions."""

import numpy as np
import pandas as pd
import pytest

from fusion_jax.results import measured
from fusion_jax.results.store import Store
from tests import tiny

VALUES = {"accuracy": (0.5, 0.5, 0.6), "log_loss": (0.9, 0.7, 2.0)}


@pytest.fixture
def store(tmp_path):
    """A cell of three seeds with metrics and no predictions; its lines are in no order."""
    found, cell = Store(tmp_path, create=True), tiny.cell()
    lines = [(s, "val", name, v) for name, values in VALUES.items() for s, v in enumerate(values)][::-1]
    table = pd.DataFrame(lines, columns=["seed", "part", "metric", "value"])
    found.write_part("0" * 16, cell, (0, 1, 2), dict(metrics=table), dict(parameters=1, seconds=1.0, seeds=3))
    return found


def test_what_was_recorded_is_read_by_seed(store):
    found = measured.measured(store, "0" * 16, "val", (0, 2))
    assert found.rows == found.scored == () and found.values.keys() == VALUES.keys()
    for name, values in VALUES.items():
        np.testing.assert_array_equal(found.values[name], [values[0], values[2]])


def test_of_equal_accuracies_the_lower_log_loss_ranks_first(store):
    rank = measured.validation(store, "0" * 16, (0, 1, 2))
    assert sorted(rank, key=rank.get) == [0, 1, 2]


def test_what_tells_no_task_is_named(store):
    table = pd.DataFrame([(0, "val", "speed", 1.0)], columns=["seed", "part", "metric", "value"])
    cost = dict(parameters=1, seconds=1.0, seeds=1)
    store.write_part("1" * 16, tiny.cell(), (0,), dict(metrics=table), cost)
    with pytest.raises(ValueError, match=r"none of its metrics \(speed\) tells what it predicts"):
        measured.about(store, "1" * 16)
