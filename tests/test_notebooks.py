"""The quickstart notebook runs from top to bottom, and what it trains is the cell it wrote down."""

import json
import pathlib

import pytest

from fusion_jax.results.store import Store
from tests import tiny

NOTEBOOKS = pathlib.Path(__file__).parents[1] / "notebooks"


def code(name: str) -> str:
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_quickstart(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="figures are an extra")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names = {}
    with tiny.as_users_run():
        exec(code("quickstart"), names)
    store = Store(tmp_path / "results" / "notebook")
    assert [cell["id"] for cell in store.read_study()["cells"]] == [names["done"]["identity"]]
    assert names["weights"].shape == (1797, 4, 4)
