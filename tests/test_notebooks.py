"""Notebooks run from top to bottom in a kernel of their own, and their figures are images."""

import io
import pathlib

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from fusion_jax.results.store import Store

NOTEBOOKS = pathlib.Path(__file__).parents[1] / "notebooks"
FIGURES = {"quickstart": 1, "ablation_report": 1, "merging_and_concepts": 2}


def run(name: str, folder: pathlib.Path, monkeypatch) -> list[dict]:
    """What the notebook's cells show, as {type: content} each, run in an empty folder as a user runs it."""
    for variable, value in {"JAX_ENABLE_X64": "0", "JAX_NUMPY_DTYPE_PROMOTION": "standard"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parent))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.data for output in outputs if "data" in output]


def tables(shown: list[dict]) -> list[pd.DataFrame]:
    return [pd.read_html(io.StringIO(data["text/html"]), index_col=0)[0] for data in shown if "text/html" in data]


def test_every_notebook_is_tested():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(FIGURES)


@pytest.mark.parametrize("name", list(FIGURES))
def test_it_runs_and_its_figures_are_images(name, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="figures are an extra")
    if name == "merging_and_concepts":
        pytest.importorskip("ot", reason="optimal transport is an extra")
    shown = run(name, tmp_path, monkeypatch)
    assert sum("image/png" in data for data in shown) == FIGURES[name]
    if name == "quickstart":  # what it trained is the cell it wrote down; rows of attention sum to 1
        store = Store(tmp_path / "results" / "notebook")
        (cell,) = store.read_study()["cells"]
        assert store.finished_seeds(cell["id"]) == (0, 1)
        assert (abs(tables(shown)[-1].sum(axis=1) - 1) < 5e-3).all()
    if name == "merging_and_concepts":
        assert "degree" in tables(shown)[-1].concept.values
