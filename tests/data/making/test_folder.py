"""Which file of a folder is what: by its name, or by what data.toml says."""

import os

import pandas as pd
import pytest

from fusion_jax.data.base import Dataset
from tests import folders


def test_files_are_known_by_their_names(tmp_path):
    tables = folders.planted()
    folder = folders.write(tmp_path / "cohort", {k: v for k, v in tables.items() if k != "edges"})
    tables["edges"][:200].to_csv(folder / "edges_ppi.tsv", sep="\t", index=False)
    tables["edges"][200:].to_csv(folder / "edges.csv", index=False)
    tables["genes"].to_parquet(folder / "genes.parquet")
    (folder / "genes.csv").unlink()
    (folder / "README.md").write_text("notes")
    (folder / "~$genes.csv").write_bytes(b"\x00who has it open")
    data = Dataset.from_folder(folder)
    assert data.name == "cohort" and data.modalities == ("clinical", "genes") and set(data.graphs) == {"edges", "ppi"}
    assert "not read: 'README.md'" in data.conversion.text() and data.default_graph == "edges"
    given = {m: tables[m] for m in ("clinical", "genes")}
    edges = {"edges": tables["edges"][200:], "ppi": tables["edges"][:200]}
    assert Dataset.from_tables(given, tables["labels"], edges).fingerprint == data.fingerprint
    (folder / "split.csv").write_text(
        "id,split\n" + "".join(f"p{i:03d},{'train' if i % 2 else 'test'}\n" for i in range(120))
    )
    assert Dataset.from_folder(folder).split(0).test.tolist() == list(range(0, 120, 2))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)])
def test_what_stands_in_the_place_of_data_toml_is_not_passed_over(tmp_path, make):
    folder = folders.write(tmp_path / "mine")
    make(folder / "data.toml")
    with pytest.raises(ValueError, match="data.toml is no plain file; expected one, or none"):
        Dataset.from_folder(folder)


def test_data_toml_says_otherwise_and_a_caller_last(tmp_path):
    folder = folders.write(tmp_path / "x")
    (folder / "genes.csv").rename(folder / "rna 2024.csv")
    labels = pd.read_csv(folder / "labels.csv").assign(age=1.5)
    labels.to_csv(folder / "outcome.csv", index=False)
    toml = 'name = "study"\nfeatures = {rna = "rna 2024.csv"}\nlabels = "outcome.csv"\ntarget = "label"\nk = 3\n'
    (folder / "data.toml").write_text(toml + 'graph = "knn_rna"\n')
    data = Dataset.from_folder(folder)
    assert data.name == "study" and data.modalities == ("rna",) and data.default_graph == "knn_rna"
    assert data.made["knn"].k == 3 and "edges" in data.graphs and data.target.kind == "classes"
    assert Dataset.from_folder(folder, k=4, target="age").made["knn"].k == 4
    (folder / "data.toml").write_text("kk = 3")
    with pytest.raises(ValueError, match="data.toml: unknown key 'kk' .did you mean 'k'"):
        Dataset.from_folder(folder)
    (folder / "data.toml").write_text("k = ")
    with pytest.raises(ValueError, match="data.toml: .*expected TOML"):
        Dataset.from_folder(folder)
    (folder / "data.toml").write_text('labels = "lables.csv"')
    with pytest.raises(FileNotFoundError, match="lables.csv: no such file"):
        Dataset.from_folder(folder)
    (folder / "data.toml").write_text("labels = 3")
    with pytest.raises(ValueError, match="data.toml, labels: 3; expected a file's name"):
        Dataset.from_folder(folder)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        Dataset.from_folder(tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match="no features; expected one file a modality, such as genes.csv .there: nothing"
    ):
        Dataset.from_folder(tmp_path)
    (tmp_path / "genes.csv").write_text("id,x\na,1\n")
    with pytest.raises(ValueError, match="no labels; expected a file labels.csv .there: 'genes.csv'"):
        Dataset.from_folder(tmp_path)
    (tmp_path / "genes.tsv").write_text("id\tx\na\t1\n")
    with pytest.raises(ValueError, match="genes.csv and genes.tsv; expected one file of that name"):
        Dataset.from_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="genes.csv: is no folder"):
        Dataset.from_folder(tmp_path / "genes.csv")


def test_what_looks_like_a_table_and_is_not_read_is_warned_of(tmp_path):
    folder = folders.write(tmp_path / "x")
    (folder / "notes.txt").write_text("x")
    (folder / "genes.xlsx").write_bytes(b"PK")  # beside genes.csv: it was saved already
    (folder / "pictures").mkdir()
    assert not Dataset.from_folder(folder).conversion.warnings
    (folder / "proteins.XLSX").write_bytes(b"PK")
    (folder / "methyl.csv").mkdir()
    (folder / "rna.csv.gz").write_bytes(b"")
    assert Dataset.from_folder(folder).conversion.warnings == [
        "methyl.csv is a folder, and not read: expected a file",
        "proteins.XLSX is not read: save its sheet as CSV",
        "rna.csv.gz is not read: unpack it",
    ]
    (folder / "labels.csv").rename(folder / "labels.ods")
    with pytest.raises(ValueError, match="no labels; expected a file labels.csv .*; labels.ods is not read: save its"):
        Dataset.from_folder(folder)


def test_a_data_toml_that_is_nested_without_end_is_refused_in_a_line(tmp_path):
    folder = folders.write(tmp_path / "x")
    (folder / "data.toml").write_text("k = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(ValueError, match="data.toml: nested too deep; expected TOML"):
        Dataset.from_folder(folder)


def test_what_a_terminal_would_obey_is_written_out(tmp_path):
    folder = folders.write(tmp_path / "x")
    labels = pd.read_csv(folder / "labels.csv")
    labels.assign(label="\x1b[31m" + labels.label).to_csv(folder / "labels.csv", index=False)
    text = Dataset.from_folder(folder).conversion.text()
    assert "\x1b" not in text and "\\x1b[31malpha 40" in text
