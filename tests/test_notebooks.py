"""Notebooks run from top to bottom in a kernel of their own, and their figures are images."""

import io
import pathlib
import re

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

import fusion_jax as fj

NOTEBOOKS = pathlib.Path(__file__).parents[1] / "notebooks"
FIGURES = {
    "quickstart": 1,
    "attention_and_embeddings": 3,
    "look_inside": 4,
    "read_an_ablation": 2,
    "bring_your_own": 1,
    "merging_and_concepts": 2,
}
FIGURE = re.compile(r"<\w*Figure size ")  # what is printed where an image is not shown

pytestmark = pytest.mark.xdist_group("notebooks")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all: what one notebook trains the next finds."""
    return tmp_path_factory.mktemp("notebooks")


def run(name: str, folder: pathlib.Path, monkeypatch) -> list[dict]:
    """What the notebook's cells show, as {type: content} each, run in a folder as a user runs it."""
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
def test_it_runs_and_its_figures_are_images(name, folder, monkeypatch):
    pytest.importorskip("matplotlib", reason="figures are an extra")
    if name == "merging_and_concepts":
        pytest.importorskip("ot", reason="optimal transport is an extra")
    shown = run(name, folder, monkeypatch)
    drawn = ["image/png" in data for data in shown if FIGURE.search(data.get("text/plain", ""))]
    assert drawn == [True] * FIGURES[name]
    if name in CHECKS:
        CHECKS[name](shown, folder)


def check_quickstart(shown, folder):
    """What it trained is what it wrote down, and its page is there."""
    study = fj.load_study(folder / "results" / "notebook")
    assert all(study.store.finished_seeds(row.cell) == tuple(range(10)) for row in study.rows)
    assert any(study.answer in data["text/plain"] for data in shown) and (study.workdir / "report/index.html").exists()


def check_attention(shown, folder):
    """Rows of attention sum to 1; the four cells of right and wrong too."""
    weights, share = (table for table in tables(shown) if table.shape in ((3, 3), (2, 2)))
    assert (abs(weights.sum(axis=1) - 1) < 5e-3).all() and abs(share.to_numpy().sum() - 1) < 5e-3


def check_look_inside(shown, folder):
    """Four analyses of one cell, and each is in its folder."""
    share, carried, explained, explains, summary, known, transport = tables(shown)
    (cell,) = fj.load_study(folder / "results" / "look_inside").cells()
    held = {path.name for path in (cell.store.cell(cell.identity) / "analyses").iterdir()}
    assert held == {"probing_inter_modality", "causal_attention", "gcav", "tabular_ot"}
    assert share.share.between(0, 1).all() and (share.uniform < 0.75).all() and len(share) == 4
    assert carried.shape == (4, 4) and ((carried.sum(axis=1) > 0.99) & (carried.sum(axis=1) < 1.25)).all()
    assert explained.nodes.item() == 60 and list(explains.modality) == list(cell.restored.data.modalities)
    assert {"label:3", "missing:pixels", "random"} == set(summary.concept) and known.to_numpy(float).max() > 0.8
    assert transport["class"].item() == "all" and 0 < transport.optimality.item() <= 1


def check_bring_your_own(shown, folder):
    """The file that is right keeps every rule, the careless one breaks one; a patient who comes later has a line."""
    (broken,) = (table for table in tables(shown) if "rule" in table)
    assert list(broken.rule) == ["the mask is read"]
    assert abs(tables(shown)[-1].filter(like="p ").to_numpy().sum() - 1) < 5e-3


CHECKS = {
    "quickstart": check_quickstart,
    "attention_and_embeddings": check_attention,
    "look_inside": check_look_inside,
    "bring_your_own": check_bring_your_own,
    "merging_and_concepts": lambda shown, folder: tables(shown)[-1].concept.tolist().index("degree"),
}
