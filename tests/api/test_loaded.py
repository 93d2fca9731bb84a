"""What a caller means by its data."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import fusion_jax as fj
from fusion_jax.api.loaded import loaded
from tests import tiny


def test_a_record_a_name_and_a_name_with_options():
    data = tiny.dataset()
    mine = dataclasses.replace(data, name="mine")
    assert loaded(mine).config == {"data.name": "memory:mine", "data.options": {}} and loaded(mine).data is mine
    named = loaded(("synthetic", tiny.DATA))
    assert named.config == {"data.name": "synthetic", "data.options": tiny.DATA} and not named.given
    assert named.data.fingerprint == data.fingerprint == fj.load_data("synthetic", **tiny.DATA).fingerprint


def test_a_folder_of_tables(tmp_path):
    rng = np.random.default_rng(0)
    ids = [f"p{i}" for i in range(40)]
    for name in ("rna", "image"):
        pd.DataFrame(rng.normal(size=(40, 3)), index=pd.Index(ids, name="id")).to_csv(tmp_path / f"{name}.csv")
    labels = pd.DataFrame({"id": ids, "label": np.where(np.arange(40) % 2, "a", "b")})
    labels.to_csv(tmp_path / "labels.csv", index=False)
    found = loaded(tmp_path)
    assert found.name == "tables" and found.options == {"folder": str(tmp_path)}
    assert set(found.data.modalities) == {"rna", "image"} == set(fj.load_data(tmp_path).modalities)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("syntetic", ValueError, "did you mean 'synthetic'"),
        (("synthetic", {"node": 3}), ValueError, "has no option 'node' .did you mean 'nodes'"),
        (np.zeros((3, 2)), TypeError, "data is a ndarray, expected a Dataset .Dataset.from_tables"),
        ("memory:mine", ValueError, "lies in memory.*hand the Dataset over"),
    ],
)
def test_what_it_cannot_be_is_said(source, error, message):
    with pytest.raises(error, match=message):
        loaded(source)


def test_a_folder_that_is_not_there_names_the_nearest(tmp_path):
    (tmp_path / "cohort").mkdir()
    with pytest.raises(FileNotFoundError, match="no folder .*cohrt' .did you mean 'cohort'"):
        loaded(tmp_path / "cohrt")
