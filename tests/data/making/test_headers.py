"""Files without a line of names: what tells a row from names, and that usual names are not taken for rows."""

import numpy as np
import pytest

from fusion_jax.data.base import Dataset
from fusion_jax.data.making.headers import looks_like_a_row, names_of
from tests import folders

ROWS = [["p1", "0.5", "-2"], ["p2", "1e-3", "4"], ["p3", "", "7"]]


@pytest.mark.parametrize(
    ("first", "rows", "key"),
    [
        (["p0", "0.7", "3"], ROWS, 0),
        (["p0", "NA", "3"], [*ROWS, ["p4", "NA", "1"]], 0),
        (["7", "0"], [["8", "1"], ["9", "0"]], 0),  # ids and classes, both whole numbers
        (["p0", "healthy"], [["p1", "ill"], ["p2", "healthy"]], 0),
        (["anna", "0.7", "0.5"], [["bert", "1.5", "2"], ["carl", "1.7", "3"]], 0),
        (["anna", "0.7", "0.5", "0.6"], [["bert", "1", "2", "3"]], 0),
        (["0,7", "-2"], [["1,5", "2"]], None),  # by position, decimal commas
        (["0.5", "0.1", "0.7"], [["1", "2", "3"]], None),
    ],
)
def test_a_row_is_known_for_one(first, rows, key):
    assert looks_like_a_row(first, rows, key)


@pytest.mark.parametrize(
    ("first", "rows", "key"),
    [
        (["id", "0.7", "3"], ROWS, 0),
        (["", "0.7", "0.3"], ROWS, 0),  # an index as pandas writes it
        (["sample", "400.5", "401.5"], ROWS, 0),  # a name without a digit among ids that have one
        (["p0", "age", "3"], ROWS, 0),
        (["who", "2019", "2020", "2021"], [["anna", "1", "2", "3"], ["bert", "4", "5", "6"]], 0),
        (["who", "0", "1"], [["anna", "0.5", "2"], ["bert", "4", "5"]], 0),  # as pandas names them
        (["who", "healthy"], [["anna", "ill"], ["bert", "healthy"]], 0),
        (["0", "1", "2"], [["0.1", "0.7", "0.4"]], None),
        (["a", "b"], [["0.1", "0.7"]], None),
    ],
)
def test_names_are_not_taken_for_a_row(first, rows, key):
    assert not looks_like_a_row(first, rows, key)


def test_columns_without_names_are_called_by_their_place():
    assert names_of([["p", "1", "x"]], "id") == ["id", "column 2", "column 3"]
    assert names_of([["1", "2"]], "position") == ["column 1", "column 2"]
    assert names_of([["a", "b", "1", "2"], ["a", "c", "2", "3"]], "none") == ["source", "target", "weight", "time"]
    assert names_of([["a", "b", "kind"]], "none") == ["source", "target", "column 3"]


def beheaded(folder, *names):
    folders.write(folder)
    for name in names:
        path = folder / f"{name}.csv"
        path.write_text(path.read_text().split("\n", 1)[1])
    return folder


@pytest.mark.parametrize("name", ["genes", "labels"])
def test_a_folder_with_a_table_without_names_is_refused_with_what_to_say(tmp_path, name):
    folder = beheaded(tmp_path / "cohort", name)
    with pytest.raises(ValueError, match=rf"{name}.csv, line 1: 'p000', .*data.toml: header = false, or true"):
        Dataset.from_folder(folder)
    (folder / "data.toml").write_text("header = true")
    assert Dataset.from_folder(folder).features["genes"].shape == (120, 6)  # taken at its word


def test_without_a_line_of_names_every_row_is_read(tmp_path):
    every = ("genes", "clinical", "labels", "edges")
    data = Dataset.from_folder(beheaded(tmp_path / "x", *every), header=False)
    named = Dataset.from_folder(folders.write(tmp_path / "y"))
    assert data.fingerprint == named.fingerprint and data.columns["genes"][0] == "column 2"
    assert "labels.csv: no line of names" in data.conversion.text()
    (tmp_path / "x" / "genes.csv").write_text("p000,1\np001,x\n")
    with pytest.raises(ValueError, match="genes.csv, column 'column 2', line 2"):
        Dataset.from_folder(tmp_path / "x", header=False)
    with pytest.raises(ValueError, match="header='no'; expected true or false"):
        Dataset.from_folder(tmp_path / "x", header="no")


def test_a_first_line_that_holds_an_id_of_another_table_is_a_row(tmp_path):
    words = ["anna", "bert", "carl", "dora", "emil", "fred"]
    genes = "".join(f"{w},{i / 7}\n" for i, w in enumerate(words))
    (tmp_path / "genes.csv").write_text("who,g\n" + genes)
    (tmp_path / "labels.csv").write_text("".join(f"{w},{i % 2}\n" for i, w in enumerate(words)))
    with pytest.raises(ValueError, match="labels.csv, line 1: 'anna', '0': 'anna' is an id of genes.csv"):
        Dataset.from_folder(tmp_path)


@pytest.mark.parametrize("by", ["id", "position"])
def test_a_list_of_edges_keeps_its_first_line_and_a_doubtful_one_is_said(tmp_path, by):
    rng = np.random.default_rng(0)
    (tmp_path / "genes.csv").write_text("id,g\n" + "".join(f"{i},{v}\n" for i, v in enumerate(rng.normal(size=12))))
    (tmp_path / "labels.csv").write_text("id,y\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(12)))
    (tmp_path / "edges.csv").write_text("3,4\n5,6\n")
    data = Dataset.from_folder(tmp_path, by=by)
    assert len(data.graphs["edges"].senders) == 4 and "first line is an edge" in data.conversion.text()
    assert "is read as an edge" not in data.conversion.text()
    (tmp_path / "edges.csv").write_text("0,1\n5,6\n")
    data = Dataset.from_folder(tmp_path, by=by)
    assert len(data.graphs["edges"].senders) == 4
    assert "edges.csv: its first line, 0,1, is read as an edge" in "".join(data.conversion.warnings)
    assert len(Dataset.from_folder(tmp_path, by=by, header=True).graphs["edges"].senders) == 2
