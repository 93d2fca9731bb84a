"""A study of yesterday (`tests/fixtures/schema2`): listed, reported, restored and resumed as one of today."""

import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest

from fusion_jax import data, study
from fusion_jax.results import report, tables
from fusion_jax.results.restore import finished, restore
from fusion_jax.results.store import Store
from fusion_jax.run.sweep import identify, load_all, run
from tests import tiny

pytestmark = pytest.mark.xdist_group("schema-2")
FIXTURE = pathlib.Path(__file__).parents[1] / "fixtures" / "schema2"
LABELS = ["mean", "gmu", "mefn", "concat_mlp", "mean [m1]", "label_propagation", "diverges"]


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@pytest.fixture
def store(tmp_path):
    shutil.copytree(FIXTURE / "results", tmp_path / "results")
    return Store(tmp_path / "results")


@pytest.fixture(scope="module")
def cells():
    file = study.load(FIXTURE / "study.py")
    return study.expand(file.get_config(), file.sweep)


def state(store):
    """{file: content} of all cells."""
    return {p: p.read_bytes() for p in pathlib.Path(store.root, "cells").rglob("*") if p.is_file()}


def test_the_cells_have_the_identities_and_the_configs_they_had(store, cells):
    stored = store.read_study()["cells"]
    assert [entry["label"] for entry in stored] == LABELS
    beside = "concat_mlp, model.layer.name=gat, scheme.name=modality_dropout"  # said since
    assert [cell.label for cell in cells] == [*LABELS[:3], beside, *LABELS[4:]]
    assert [i for i, _ in identify(cells, load_all(cells))] == [entry["id"] for entry in stored]
    assert [entry["config"] for entry in stored] == [cell.config for cell in cells]
    assert [store.config(entry["id"]) for entry in stored] == [cell.config for cell in cells]


def test_the_table_is_the_one_of_then(store):
    stored = pd.read_csv(store.root / "report" / "table.csv")
    report.write(store)
    found = pd.read_csv(store.root / "report" / "table.csv")
    pd.testing.assert_frame_equal(found[list(stored)], stored, check_exact=True)
    assert found.variant.tolist()[:7] == LABELS and len(found) == 8
    assert not any("not finished" in row.label for row in tables.rows(store))


def test_every_model_is_restored_with_the_predictions_that_are_stored(store):
    models = [i for i, label in finished(store).items() if label != "label_propagation"]
    assert len(models) == 5
    for identity in models:
        cell, table = restore(store, identity), store.table(identity, "predictions")
        for i, seed in enumerate(cell.seeds):
            stored = np.stack(table[table.seed == seed].prediction)
            np.testing.assert_allclose(cell.prediction(i), stored, rtol=0, atol=1e-6)
            if "uncertainty" in table:
                said = cell.models[i](cell.batch(i)).uncertainty
                np.testing.assert_allclose(said, table[table.seed == seed].uncertainty, rtol=0, atol=1e-6)


def test_it_is_resumed_where_it_stopped(store, cells):
    """Six of seven cells are finished; the one that failed fails as it did, and nothing else is touched."""
    before, counts, outcomes = state(store), [], []
    failed = run(
        cells,
        store,
        str(FIXTURE / "study.py"),
        begin=lambda total, waiting: counts.append((total, waiting)),
        done=lambda outcome, problem: outcomes.append((outcome.job.cell.label, outcome.error)),
    )
    assert failed == 1 and counts == [(7, 1)] and [label for label, _ in outcomes] == ["diverges"]
    assert store.failure(store.read_study()["cells"][6]["id"])["error"] == outcomes[0][1]
    after = state(store)
    assert [p.name for p in before if after[p] != before[p] and "730c3a5efe8c94c3" not in str(p)] == []


def test_a_third_seed_trains_that_seed_alone(store, cells):
    wanted = [study.Cell(cell.config, cell.label, 3) for cell in cells if cell.label in ("mean", "label_propagation")]
    before = state(store)
    assert run(wanted, store, "test") == 0
    after, loaded = state(store), data.load("synthetic", **cells[0].plan.data.options)
    for cell in wanted:
        identity = cell.identity(loaded)
        assert [seeds for _, seeds in store.parts(identity)] == [[0, 1], [2]]
    kept = [p for p in before if "seeds-0000-0001" in str(p)]
    assert kept and all(after[p] == before[p] for p in kept)
    assert len(restore(store, wanted[0].identity(loaded)).models) == 3
