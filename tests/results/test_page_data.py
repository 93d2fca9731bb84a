"""The dictionary that a page is made from."""

import json

import numpy as np
import pytest

from fusion_jax.results import page_data, tables
from tests import pages


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return pages.make(tmp_path_factory.mktemp("data") / "study").store


@pytest.fixture(scope="module")
def data(study):
    return page_data.collect(study)


def test_values_are_those_of_the_rows_bit_for_bit(study, data):
    read = json.loads(json.dumps(data, allow_nan=False))
    for row, held in zip(tables.rows(study), read["rows"], strict=True):
        for metric, values in row.values.items():
            assert [v if v is not None else np.nan for v in held["values"][metric]] == pytest.approx(
                values, rel=0, nan_ok=True
            )
        assert held["seeds"] == list(row.seeds) and held["label"] == row.label


def test_rows_without_results_know_their_cells(study, data):
    for row in data["rows"]:
        if not row["published"]:
            assert data["cells"][row["cell"]]["label"] == row["name"]


def test_groups_are_what_is_compared_and_cited_rows_stand_in_all_of_their_data_set(data):
    names = {one["name"]: [data["rows"][i]["label"] for i in one["rows"]] for one in data["groups"]}
    assert list(names) == ["synthetic", "digits", "breast_cancer"]
    assert names["digits"] == ["concat_mlp", "gmu", "mean", "theirs"] and "theirs" not in names["synthetic"]


def test_two_protocols_are_two_groups(tmp_path):
    made = pages.Pages(tmp_path / "study")
    for protocol in ("honest", "paper"):
        made.add("concat_mlp", seeds=2, protocol=protocol)
    made.published = [dict(label="x", source="y", data="synthetic", values={"accuracy": (0.5, None)})]
    made.write()
    found = page_data.collect(made.store)["groups"]
    assert [one["name"] for one in found] == ["synthetic [honest, default]", "synthetic [paper, default]"]
    assert [len(one["rows"]) for one in found] == [2, 2]


def test_what_is_no_number_is_null_and_what_is_odd_is_text():
    value = dict(a=np.float64("nan"), b=(1, np.int32(2)), c=np.array([[1.5, np.inf]]), d=True, e=None, f={3: object})
    found = page_data.plain(value)
    assert json.loads(json.dumps(found, allow_nan=False))["c"] == [[1.5, None]]
    assert (found["a"], found["b"], found["d"], found["e"]) == (None, [1, 2], True, None) and "3" in found["f"]


def test_a_cell_whose_results_cannot_be_read_has_failed(tmp_path):
    made = pages.Pages(tmp_path / "study")
    made.add("concat_mlp", seeds=2)
    identity = made.add("gmu", seeds=2)
    made.write()
    path = next((made.store.cell(identity)).glob("*/predictions.parquet"))
    path.write_bytes(path.read_bytes()[:-9])
    found = page_data.collect(made.store)
    assert found["cells"][identity]["state"] == "failed" and found["status"]["failed"] == 1
    assert "predictions.parquet is damaged" in found["cells"][identity]["damaged"]
