"""A folder of tables of new nodes: a modality a file, edges with what they carry, by the ids of the nodes."""

import pytest

from fusion_jax.data.making.arriving import from_folder


def test_modalities_and_edges_go_by_their_names(tmp_path):
    (tmp_path / "genes.csv").write_text("g1,id,g2\n1,07,2\n3,b,\n")
    (tmp_path / "edges_ppi.tsv").write_text("from\tto\tWeight\tnote\n07\told\t0.5\tx\nb\t07\t2\ty\n")
    (tmp_path / "labels.csv").write_text("id,y\n07,1\n")
    (tmp_path / "notes.txt").write_text("x")
    x, edges = from_folder(tmp_path)
    assert list(x) == ["genes"] and x["genes"].index.tolist() == ["07", "b"]
    assert x["genes"].columns.tolist() == ["g1", "g2"] and x["genes"].g2.isna().tolist() == [False, True]
    assert edges["ppi"].to_numpy().tolist() == [["07", "old", 0.5], ["b", "07", 2.0]]
    assert edges["ppi"].columns.tolist() == ["sender", "receiver", "weight"]


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        from_folder(tmp_path / "x")
    with pytest.raises(ValueError, match="no table of a modality"):
        from_folder(tmp_path)
    (tmp_path / "genes.csv").write_text("id,g\na,1\n")
    (tmp_path / "edges.csv").write_text("source,target,weight\na,b,heavy\n")
    with pytest.raises(ValueError, match="edges.csv, column 'weight', line 2: no number"):
        from_folder(tmp_path)
    (tmp_path / "edges.csv").unlink()
    (tmp_path / "genes.tsv").write_text("id\tg\na\t1\n")
    with pytest.raises(ValueError, match="two files named 'genes'"):
        from_folder(tmp_path)


def test_a_list_of_edges_without_names_keeps_its_first_line(tmp_path):
    (tmp_path / "genes.csv").write_text("id,g\nn1,1\nn2,2\n")
    (tmp_path / "edges.csv").write_text("n1,p7\nn2,n1\n")
    assert from_folder(tmp_path)[1]["edges"].to_numpy().tolist() == [["n1", "p7"], ["n2", "n1"]]
    (tmp_path / "edges.csv").write_text("p7,x\nn2,n1\n")
    assert len(from_folder(tmp_path, known=["p7"])[1]["edges"]) == 2
    assert len(from_folder(tmp_path, known=["p7"], header=True)[1]["edges"]) == 1
    (tmp_path / "genes.csv").write_text("n0,0.5\nn1,1\nn2,2\n")
    with pytest.raises(ValueError, match="genes.csv, line 1: 'n0', '0.5': 'n0' is written as the ids below it"):
        from_folder(tmp_path)
    assert from_folder(tmp_path, header=False)[0]["genes"].index.tolist() == ["n0", "n1", "n2"]
