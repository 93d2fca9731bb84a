"""A folder of tables from a config alone: its contents make the cell, not where they lie."""

import shutil

import numpy as np
import pytest

from fusion_jax import data, study
from fusion_jax.data.base import Dataset
from fusion_jax.results.predictor import Predictor
from fusion_jax.results.restore import restore
from fusion_jax.results.store import Store
from fusion_jax.training.prepare import prepare
from tests import folders, tiny


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


def cell(folder, **options):
    return tiny.cell(data__name="tables", data__options={"folder": str(folder), **options})


def loaded(of: study.Cell) -> Dataset:
    return data.load(of.plan.data.name, **of.plan.data.options)


def test_the_folder_moved_is_the_same_cell_and_a_changed_file_another(tmp_path):
    here = folders.write(tmp_path / "here", missing=0.1)
    one = cell(here)
    identity = one.identity(loaded(one))
    shutil.move(here, tmp_path / "there")
    other = cell(tmp_path / "there")
    assert other.config != one.config and other.identity(loaded(other)) == identity
    text = (tmp_path / "there" / "genes.csv").read_text()
    (tmp_path / "there" / "genes.csv").write_text(text.replace("p007,", "p007,1", 1))
    assert other.identity(loaded(other)) != identity
    few = cell(tmp_path / "there", k=5, graph="knn")
    assert few.identity(loaded(few)) != other.identity(loaded(other))


def test_a_folder_is_found_from_anywhere(tmp_path, monkeypatch):
    folders.write(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert cell("mine").config["data"]["options"]["folder"] == str(tmp_path / "mine")


def test_a_cell_is_trained_recorded_with_ids_and_restored(tmp_path):
    tables = folders.planted(nodes=60, missing=0.2)
    tables["genes"].loc[[3, 9, 30], "g1"] = np.nan
    tables["labels"] = tables["labels"][:-6]
    folder = folders.write(tmp_path / "mine", tables)
    options = {**tiny.SMALL, "data.name": "tables", "data.options": None, "data.options.folder": folder}
    flags = [f"--config.{key}={value}" for key, value in options.items() if value is not None]
    status, printed = tiny.command("experiments.train", *flags, f"--workdir={tmp_path / 'out'}")
    assert status == 0, printed
    assert printed.count("data set 'mine'\n  60 nodes (union of 2 feature tables)") == 1
    assert "genes.csv: 3 single values missing in 1 column, filled per seed by the mean" in printed
    of, store = cell(folder), Store(tmp_path / "out")
    data_set = loaded(of)
    identity = of.identity(data_set)
    table = store.table(identity, "predictions")
    first = table[table.seed == 0]
    assert first.id.tolist() == data_set.ids.tolist() == tables["genes"].id.tolist()
    assert first.labelled.tolist() == [True] * 54 + [False] * 6
    assert set(first.part[54:]) == {"unused"} and "unused" not in set(first.part[:54])
    again = restore(store, identity)
    trained = prepare(of.plan.data, data_set, again.seeds, **of.plan.preparing).trials
    for field in ("fill", "shift", "scale"):
        for name, value in getattr(trained, field).items():
            np.testing.assert_array_equal(value, getattr(again.prepared.trials, field)[name])
    for i, seed in enumerate(again.seeds):
        stored = np.stack(table[table.seed == seed].prediction.to_list())
        np.testing.assert_allclose(again.prediction(i), stored, rtol=1e-6, atol=1e-6)

    predictor = Predictor.load(store.root, identity)
    known = np.asarray(again.prepared.trials.fill["genes"])[0, 1]
    genes = np.arange(6.0)
    said = [
        predictor({"genes": np.where(np.arange(6) == 1, value, genes)[None]}, ["new"], [("new", "p07")]).each[0]
        for value in (np.nan, known)
    ]
    np.testing.assert_array_equal(*said)


def test_without_a_folder_it_says_how_to_name_one():
    with pytest.raises(ValueError, match="data set 'tables' needs a folder: --config.data.options.folder=DIR"):
        data.load("tables")
    with pytest.raises(ValueError, match="has no option 'foldr' .did you mean 'folder'"):
        data.load("tables", foldr="x")


def test_what_a_folder_calls_itself_is_known_without_loading_it(tmp_path):
    folder = folders.write(tmp_path / "cohort")
    assert data.called("tables", dict(folder=str(folder), k=3)) == "cohort" == data.load("tables", folder=folder).name
    (folder / "data.toml").write_text('name = "trial 7"')
    assert data.called("tables", dict(folder=str(folder))) == "trial 7" == data.load("tables", folder=folder).name
    (folder / "data.toml").write_text("name = ")
    assert data.called("tables", dict(folder=str(folder))) == data.called("tables", {}) == "tables"
    assert data.called("digits", {}) == "digits" and data.called("mine/cells.py", {}) == "cells"
