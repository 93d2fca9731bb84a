"""Notebooks run from top to bottom, and what they train is the cell they wrote down."""

import json
import pathlib

import pytest

from fusion_jax.results.store import Store
from tests import tiny

NOTEBOOKS = pathlib.Path(__file__).parents[1] / "notebooks"


def code(name: str) -> str:
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.fixture
def run(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="figures are an extra")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")

    def run(name):
        names = {}
        with tiny.as_users_run():
            exec(code(name), names)
        return names

    return run


def test_quickstart(run, tmp_path):
    names = run("quickstart")
    store = Store(tmp_path / "results" / "notebook")
    assert [cell["id"] for cell in store.read_study()["cells"]] == [names["done"]["identity"]]
    assert names["weights"].shape == (1797, 4, 4)


def test_merging_and_concepts(run):
    names = run("merging_and_concepts")
    merged, found = names["merged"].tables["table"].set_index("name"), names["found"].tables["summary"]
    networks = merged.accuracy[merged.kind == "network"]
    assert len(networks) == 3 and networks.min() > 0.7 and merged.accuracy["ensemble"] > networks.max()
    assert list(found.concept.unique()) == ["degree", "label:3", "random"]
