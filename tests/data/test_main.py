"""`python -m fusion_jax.data` tells what there is without loading it."""

import json

import numpy as np
import pytest

from fusion_jax import data
from fusion_jax.data import __main__ as listing
from fusion_jax.data import files
from tests import folders

NAMES = data.names()


@pytest.fixture
def nothing_present(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHECKOUT", tmp_path / "work" / "checkout")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FUSION_JAX_DATA", raising=False)
    monkeypatch.setattr(files.urllib.request, "urlopen", None)  # would fail if called


def test_it_names_every_set(capsys):
    listing.main(["--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == NAMES
    assert {"citeseer", "cora", "digits", "leaves100", "rosmap", "synthetic"} <= set(NAMES)
    for row in rows:
        assert row["summary"].endswith(".") and row["source"] and row["licence"]
        assert row["name"] == "tables" or row["nodes"] > 0  # the user's own may hold anything
        assert row["present"] == (not row["get"])
        for name, file in row["files"].items():
            assert len(file["sha256"]) == 64
            assert file["url"].startswith("https://") or name.startswith("derived_")


def test_a_file_that_defines_load_alone_is_listed(tmp_path, monkeypatch, capsys):
    (tmp_path / "bare_set.py").write_text("def load(size: int = 3):\n    pass\n")
    monkeypatch.setattr(data, "__path__", [*data.__path__, str(tmp_path)])
    entry = next(row for row in listing.rows() if row["name"] == "bare_set")
    assert entry["present"] and entry["options"] == {"size": 3} and entry["nodes"] is None
    listing.main([])
    assert "bare_set" in capsys.readouterr().out


def test_it_says_how_to_get_what_is_not_present(nothing_present, capsys, tmp_path):
    rows = {row["name"]: row for row in listing.rows()}
    assert rows["digits"]["present"] and rows["synthetic"]["present"]
    for name in ("rosmap", "cora", "citeseer", "leaves100"):
        row = rows[name]
        assert not row["present"] and all(f["state"] == "missing" for f in row["files"].values())
        folder = data.module(name).FILES.folder
        assert row["get"].startswith("loading downloads ")
        assert str(tmp_path / "cache" / "fusion_jax" / "data" / folder) in row["get"]
    listing.main([])
    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMES) and "no: loading downloads" in printed


def test_it_says_what_has_to_be_put_by_hand(nothing_present):
    rows = {row["name"]: row for row in listing.rows()}
    assert rows["breast_tcga"]["get"].startswith("derived_breast_tcga.npz cannot be downloaded: put it at ")
    assert "downloads" not in rows["breast_tcga"]["get"]
    mosi = rows["cmu_mosi"]["get"]
    assert "derived_utterances.csv cannot be downloaded: put it at " in mosi
    assert "loading downloads audio_test0.csv" in mosi and "derived" not in mosi.partition("loading downloads")[2]


def test_it_says_which_file_is_wrong(nothing_present, tmp_path, monkeypatch):
    path = tmp_path / "100leaves" / "100leaves.mat"
    path.parent.mkdir()
    path.write_bytes(b"cut")
    monkeypatch.setenv("FUSION_JAX_DATA", str(tmp_path))
    row = next(row for row in listing.rows() if row["name"] == "leaves100")
    assert not row["present"] and row["get"] == f"replace or remove {path} (wrong sha256)"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "tables"])
def test_the_summary_is_what_loading_gives(name):
    module = data.module(name)
    if module.FILES and any(module.FILES.find(file) is None for file in module.FILES.sha256):
        pytest.skip(f"{name}: its files are not in {', '.join(map(str, files.roots()))}")
    d = data.load(name)
    assert d.name == name and d.num_nodes == module.SUMMARY.nodes
    assert {m: x.shape[1] for m, x in d.features.items()} == module.SUMMARY.modalities
    assert list(d.features) == list(module.SUMMARY.modalities)
    assert (d.target.num_outputs, set(d.graphs)) == (module.SUMMARY.classes, set(module.SUMMARY.graphs))
    assert (d.provenance.source, d.provenance.licence) == (module.SOURCE, module.LICENCE)
    assert module.CHECKSUM in ("", d.provenance.checksum)
    assert d.graph().num_nodes == d.num_nodes and np.all(np.diff(d.split(0).train) > 0)


def test_a_folder_is_checked_without_training(tmp_path, capsys):
    listing.main([f"--folder={folders.write(tmp_path / 'mine')}"])
    assert capsys.readouterr().out.startswith("data set 'mine'\n  120 nodes (union of 2 feature tables)\n")
    listing.main([f"--folder={tmp_path / 'mine'}", "--json"])
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["edges"]["edges"]["pairs"] == 360 and facts["homophily"]["edges"]["value"] > 0.7
    with pytest.raises(SystemExit) as ended:
        listing.main([f"--folder={tmp_path / 'other'}"])
    assert ended.value.code == 2 and "other: no such folder" in capsys.readouterr().err


def test_the_help_names_the_command(capsys):
    with pytest.raises(SystemExit):
        listing.main(["--help"])
    assert capsys.readouterr().out.startswith("usage: fusion-jax data ")
