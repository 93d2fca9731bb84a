"""A new metric is one new file: results that are stored already have it in their tables."""

import importlib
import sys

import numpy as np
import pytest

import fusion_jax.metrics
from fusion_jax import metrics
from fusion_jax.results import report, tables
from tests import cells, tiny

KAPPA = '''
"""Cohen's kappa: how much more often a class is right than by chance."""

import numpy as np

from fusion_jax.metrics.base import Metric


class ScratchKappa(Metric):
    """(p - c) / (1 - c)."""

    heading = "kappa"
    tasks = ("classes",)
    rank = 5
    note = "Kappa: of Cohen, 1960."

    def __call__(self, rows):
        labels, guess = rows.target.labels, rows.prediction.argmax(1)
        shares = [np.bincount(x, minlength=rows.prediction.shape[1]) / len(x) for x in (labels, guess)]
        chance = (shares[0] * shares[1]).sum()
        return float(((labels == guess).mean() - chance) / (1 - chance))
'''


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with tiny.as_users_run():
        return cells.train_cells(tmp_path_factory.mktemp("metrics"), [cells.tiny_cell()])


@pytest.fixture
def kappa(tmp_path, monkeypatch):
    monkeypatch.setattr(fusion_jax.metrics, "__path__", [*fusion_jax.metrics.__path__, str(tmp_path)])
    (tmp_path / "scratch_kappa.py").write_text(KAPPA)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("fusion_jax.metrics.scratch_kappa", None)
    vars(fusion_jax.metrics).pop("scratch_kappa", None)


def test_it_is_shown_of_results_that_were_stored_before_it(study, kappa):
    store, (identity,) = study
    assert "scratch_kappa" not in set(store.table(identity, "metrics").metric)
    (row,) = tables.rows(store)
    assert tables.columns([row])[:2] == ["accuracy", "scratch_kappa"] and row.values["scratch_kappa"].shape == (2,)
    text = report.write(store)
    assert "| accuracy | kappa | macro F1 |" in text and " Kappa: of Cohen, 1960. " in text
    assert metrics.heading("colour: scratch_kappa") == "colour: kappa"


def test_the_figures_of_a_report_are_those_that_were_recorded(study):
    """To the last bit, though they are computed again from stored predictions."""
    store, (identity,) = study
    (row,) = tables.rows(store)
    table = store.table(identity, "metrics")
    recorded = {m: own.sort_values("seed").value.to_numpy() for m, own in table[table.part == "test"].groupby("metric")}
    assert row.values.keys() == recorded.keys()
    for name, values in recorded.items():
        np.testing.assert_array_equal(row.values[name], values)
