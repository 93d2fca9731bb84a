"""A finished cell comes back from its store with the predictions it stored, and what does not fit is listed."""

import dataclasses
import os
import shutil

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.data import splits
from fusion_jax.data.base import Splits
from fusion_jax.results.restore import fill, only_cell, restore, snapshots, whole_identity
from fusion_jax.results.store import Store, read_json, write_json
from fusion_jax.run.cell import run_cell
from fusion_jax.training import checkpoint
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run


@pytest.fixture(scope="module", autouse=True)
def settings():
    with as_users_run():
        yield


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory):
    cells = [tiny_cell(data__setting="inductive"), tiny_cell(seeds=1, control__name="logistic_regression")]
    return train_cells(tmp_path_factory.mktemp("restore"), cells)


@pytest.fixture(scope="module")
def cell(trained):
    store, identities = trained
    return restore(store, identities[0])


def test_predictions_are_the_stored_ones(trained, cell):
    store, identities = trained
    table = store.table(identities[0], "predictions")
    assert cell.seeds == (0, 1)
    for i, seed in enumerate(cell.seeds):
        stored = np.stack(table[table.seed == seed].prediction)
        np.testing.assert_allclose(cell.prediction(i), stored, rtol=1e-5, atol=1e-5)
    assert np.abs(cell.prediction(0) - cell.prediction(1)).max() > 1e-2


def test_all_that_a_model_says_is_what_it_says_layer_by_layer(cell):
    for i, model in enumerate(cell.models):
        said, plain = cell.output(i), model(cell.batch(i), context=cell.context(i))
        own, expected = jax.tree.leaves(said), jax.tree.leaves(plain)
        assert len(own) == len(expected) > 1
        for a, b in zip(own, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # float32, rounded in another order


def test_training_saw_fewer_nodes_than_the_whole_batch(cell):
    assert cell.seen(0).mask.sum() < cell.batch(0).mask.sum()


def test_splits_are_those_of_the_stored_table(trained, cell):
    table = trained[0].table(trained[1][0], "predictions")
    test = table[(table.seed == 1) & (table.part == "test")].row
    np.testing.assert_array_equal(cell.prepared.splits[1].test, test)


def test_what_a_checkpoint_lacks_or_has_too_much_is_listed(trained, cell):
    store, identities = trained
    saved = checkpoint.restore(store.parts(identities[0])[0][0] / "checkpoint")
    params = saved["params"]
    params["other"] = params.pop("head")
    params["encoders"]["0"]["linear"]["bias"] = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError) as error:
        fill(cell.models[0], nnx.to_pure_dict(saved) if isinstance(saved, nnx.State) else saved, "x")
    text = str(error.value)
    assert "missing parameters ['head/bias', 'head/kernel']" in text
    assert "unexpected parameters ['other/bias', 'other/kernel']" in text
    assert "encoders/0/linear/bias (2, 3) instead of (8,)" in text


def test_several_cells_want_a_name_and_a_wrong_one_suggests(trained):
    store, identities = trained
    with pytest.raises(ValueError, match="holds 2 finished cells, name one with --cell=ID"):
        only_cell(store)
    with pytest.raises(ValueError, match=f"no finished cell.*did you mean '{identities[0]}'"):
        restore(store, identities[0][:-1] + "x")


def test_the_first_characters_of_an_identity_name_a_cell_and_the_others_are_listed_with_labels(trained):
    store, identities = trained
    short = os.path.commonprefix(identities)
    first = identities[0][: len(short) + 1]
    assert whole_identity(store, first) == restore(store, first).identity == identities[0]
    listed = f"{identities[0]}  .*, before, synthetic;\n  {identities[1]}  logistic_regression, -, synthetic"
    for start, message in (("", "no finished cell ''"), ("zz", "no finished cell 'zz'")):
        with pytest.raises(ValueError, match=f"{message}.*; finished:\n  {listed}"):
            whole_identity(store, start)


def test_several_cells_that_start_alike_are_listed(trained, monkeypatch):
    store = trained[0]
    cells = [{**cell, "id": f"ab{i}"} for i, cell in enumerate(store.read_study()["cells"])]
    monkeypatch.setattr(store, "read_study", lambda: dict(cells=cells))
    monkeypatch.setattr(store, "finished_seeds", lambda identity: (0,) if identity in ("ab0", "ab1") else ())
    with pytest.raises(ValueError, match="2 finished cells whose identity starts with 'ab', expected one:\n  ab0  "):
        whole_identity(store, "ab")
    assert whole_identity(store, "ab1") == "ab1"


def test_a_control_has_no_model(trained):
    with pytest.raises(ValueError, match="control 'logistic_regression': it has no parameters"):
        restore(trained[0], trained[1][1])


def test_a_folder_without_study(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no study"):
        restore(Store(tmp_path))


def test_other_data_or_another_version_of_the_code_are_told_apart(trained, cell, monkeypatch):
    store, identities = trained
    path = store.cell(identities[0]) / "config.json"
    config = read_json(path)
    try:
        write_json(path, {**config, "data": {**config["data"], "options": {**config["data"]["options"], "nodes": 130}}})
        with pytest.raises(ValueError, match="trained on other data than data set 'synthetic' holds now"):
            restore(store, identities[0])
    finally:
        write_json(path, config)


def changed(store, identity, file, **values):
    """The cell's JSON file with other values; returns what stood there."""
    path = store.cell(identity) / file
    before = read_json(path)
    write_json(path, {**before, **values})
    return before


def test_a_cell_of_another_schema_says_so(trained):
    store, identities = trained
    before = changed(store, identities[0], "record.json")
    try:
        without = {k: v for k, v in before.items() if k not in ("schema", "sha256")}  # as schema 1 wrote it
        write_json(store.cell(identities[0]) / "record.json", without)
        with pytest.raises(ValueError, match=f"cell {identities[0]} was stored under schema 1.*train it anew"):
            restore(store, identities[0])
    finally:
        write_json(store.cell(identities[0]) / "record.json", before)
    assert restore(store, identities[0]).seeds == (0, 1)


def other_first(data):
    """The data set with another split of every seed: training and test rows change places."""
    split = data.split(0)
    return dataclasses.replace(data, splits=splits.fixed(split.test, split.val, split.train, data.splits.rule))


def other_second(data):
    """The data set with the same split of seed 0, and another one of every other seed."""

    def draw(seed):
        return data.splits.draw(seed and seed + 10)

    return dataclasses.replace(data, splits=Splits(draw, data.splits.fixed, data.splits.rule))


def test_a_model_does_not_come_back_under_another_split(trained, cell):
    store, identities = trained
    with pytest.raises(ValueError, match="trained on other data.*splits"):
        restore(store, identities[0], data=other_first(cell.data))
    with pytest.raises(ValueError, match=f"cell {identities[0]}.*seed 1: its split is not the one it was trained on"):
        restore(store, identities[0], data=other_second(cell.data))


@pytest.mark.parametrize("seeds", [2, 3])
def test_no_seed_is_added_where_stored_ones_had_another_split(trained, cell, seeds):
    store, identities = trained
    wanted = tiny_cell(data__setting="inductive", seeds=seeds)
    with pytest.raises(ValueError, match="seed 1: its split is not the one.*train anew in another folder"):
        run_cell(wanted, store, other_second(cell.data))
    assert store.finished_seeds(identities[0]) == (0, 1)


def test_another_split_is_another_cell(tmp_path, cell):
    store = Store(tmp_path, create=True)
    one = tiny_cell(seeds=1)
    first, second = (run_cell(one, store, d) for d in (cell.data, other_first(cell.data)))
    assert first["seeds"] == second["seeds"] == (0,) and first["identity"] != second["identity"]


def test_a_cell_whose_seeds_have_graphs_of_their_own_comes_back(tmp_path):
    """Neighbours of the seen nodes in training, the other nodes attached in evaluation: one graph a seed."""
    few = dict(data__name="breast_cancer", data__options={}, data__setting="inductive", model__placement="before")
    store, (identity,) = train_cells(tmp_path, [tiny_cell(**few)])
    found, table = restore(store, identity), store.table(identity, "predictions")
    for i, seed in enumerate(found.seeds):
        stored = np.stack(table[table.seed == seed].prediction)
        np.testing.assert_allclose(found.prediction(i), stored, rtol=1e-5, atol=1e-5)
        assert found.seen(i).mask.sum() < found.batch(i).mask.sum() == 2 * 198
    edges = [np.asarray(found.batch(i).graph.senders) for i in (0, 1)]
    assert not np.array_equal(*edges)


def test_snapshots_are_the_models_along_the_training(tmp_path):
    """The last one, after the last epoch, is what a training that keeps its last epoch ends with."""
    kept = tiny_cell(training__snapshots=3, training__epochs=4, training__select="last")
    store, (identity,) = train_cells(tmp_path / "with", [kept])
    cell = restore(store, identity)
    along = snapshots(store, cell)
    assert list(along) == [0, 2, 4] and all(len(models) == len(cell.seeds) for models in along.values())
    for last, model in zip(along[4], cell.models, strict=True):
        for a, b in zip(*(jax.tree.leaves(nnx.state(m)) for m in (last, model)), strict=True):
            np.testing.assert_array_equal(a, b)
    first, second = (np.asarray(jax.tree.leaves(nnx.state(along[epoch][0], nnx.Param))[0]) for epoch in (0, 2))
    assert (first != second).any()
    short, (same,) = train_cells(tmp_path / "short", [tiny_cell(training__epochs=2, training__select="last")])
    for a, b in zip(
        *(jax.tree.leaves(nnx.state(m)) for m in (along[2][0], restore(short, same).models[0])), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_without_snapshots_it_is_said_how_to_keep_some(trained, cell):
    with pytest.raises(ValueError, match=f"cell {cell.identity} has no snapshots: .*training.snapshots=N"):
        snapshots(trained[0], cell)


def test_a_cell_that_stands_in_no_study_comes_back(trained, tmp_path):
    store, identities = trained
    shutil.copytree(store.root / "cells", tmp_path / "cells")
    alone = restore(Store(tmp_path), identities[0])
    np.testing.assert_array_equal(alone.prediction(0), restore(store, identities[0]).prediction(0))
