"""What a cell keeps to predict: one file of data for all cells, what was fitted, and the splits."""

import numpy as np
import pytest

from fusion_jax import data
from fusion_jax.results import inputs
from fusion_jax.results.predictor import Predictor
from fusion_jax.results.store import Store
from fusion_jax.training import checkpoint
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run

OPTIONS = dict(nodes=80, modalities=3, classes=3, dim=9, missing=0.2)


@pytest.fixture(scope="module", autouse=True)
def settings():
    with as_users_run():
        yield


@pytest.fixture(scope="module")
def study(settings, tmp_path_factory):
    usual = dict(data__options=OPTIONS, model__fusion__name="mean", training__epochs=2)
    cells = [tiny_cell(**usual), tiny_cell(protocol="paper", data__modalities=("m2", "m0"), **usual)]
    return train_cells(tmp_path_factory.mktemp("inputs"), cells)


def test_all_cells_of_a_data_set_keep_one_file(study):
    store, identities = study
    (path,) = (store.root / "data").iterdir()
    for identity in identities:
        held = inputs.of_part(store, identity)
        assert held["data"]["file"] == f"data/{path.name}" and held["data"]["bytes"] <= inputs.LIMIT
        kept = inputs.data_of(store, held)
        assert kept.fingerprint == held["data"]["fingerprint"] == data.load("synthetic", **OPTIONS).fingerprint
    assert inputs.of_part(store, identities[1])["modalities"] == [["m2", 9], ["m0", 9]]


def test_the_checkpoint_has_the_scalers_of_every_seed(study):
    store, identities = study
    kept = data.load("synthetic", **OPTIONS)
    for identity, names in zip(identities, (("m0", "m1", "m2"), ("m2", "m0")), strict=True):
        ((part, seeds),) = store.parts(identity)
        found = checkpoint.restore(part / "checkpoint")["inputs"]
        splits = inputs.splits_of(store, identity, store.config(identity)["protocol"])
        assert found["shift"]["0"].shape == (len(seeds), 9) and set(found) == {"shift", "scale"}
        for i, seed in enumerate(seeds):
            for m, name in enumerate(names):
                rows = splits[seed].train
                rows = rows[kept.mask[rows, list(kept.features).index(name)]]
                np.testing.assert_allclose(found["shift"][str(m)][i], kept.features[name][rows].mean(0), atol=1e-6)


def test_splits_are_those_that_selection_used(study):
    store, identities = study
    own = data.load("synthetic", **OPTIONS).split(1)
    honest, paper = (inputs.splits_of(store, i, p)[1] for i, p in zip(identities, ("honest", "paper"), strict=True))
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(honest, part), getattr(own, part))
    np.testing.assert_array_equal(paper.train, np.sort(np.concatenate([own.train, own.val])))
    np.testing.assert_array_equal(paper.val, own.test)
    predictor = Predictor.load(store.root, identities[1])
    np.testing.assert_allclose(predictor.computed().each, predictor().each, rtol=0, atol=1e-6)


def test_units_are_kept_in_float64(tmp_path):
    cell = tiny_cell(data__name="synthetic_values", data__options=dict(nodes=60), model__fusion__name="mean")
    store, (identity,) = train_cells(tmp_path, [cell])
    ((part, _),) = store.parts(identity)
    units = checkpoint.restore(part / "checkpoint")["inputs"]["units"]
    y = data.load("synthetic_values", nodes=60)
    rows = inputs.splits_of(store, identity, "honest")[0].train
    assert units["shift"].dtype == np.float64
    np.testing.assert_allclose(units["shift"][0], np.float64(y.target.values[rows]).mean(0), rtol=1e-12)


def test_data_that_are_too_large_are_not_kept_and_have_to_be_given(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "LIMIT", 100)
    cell = tiny_cell(data__options=OPTIONS, model__fusion__name="mean", training__epochs=1)
    store, (identity,) = train_cells(tmp_path, [cell])
    assert not (store.root / "data").exists() and "file" not in inputs.of_part(store, identity)["data"]
    with pytest.raises(ValueError, match="its data are too large to be kept; give them"):
        Predictor.load(tmp_path)
    given = data.load("synthetic", **OPTIONS)
    assert len(Predictor.load(tmp_path, data=given)()) == 80
    with pytest.raises(ValueError, match="trained on other data"):
        Predictor.load(tmp_path, data=data.load("synthetic", **{**OPTIONS, "nodes": 90}))


def test_a_store_without_cells_has_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no study"):
        Predictor.load(Store(tmp_path).root)
