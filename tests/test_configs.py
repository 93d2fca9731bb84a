"""Every study file that comes with the package: its cells exist, and a quick one of them trains."""

import functools
import json

import numpy as np
import pytest

from fusion_jax import data, study
from fusion_jax.data import files
from fusion_jax.results.data_names import stated_names
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.run.size import at_its_size
from fusion_jax.study.files import bundled
from tests import tiny

pytestmark = pytest.mark.xdist_group("configs")
STUDIES = sorted(str(p.relative_to(bundled())) for p in bundled().rglob("*.py") if p.name != "__init__.py")


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@functools.cache
def cells(file: str, argument: str) -> list[study.Cell]:
    module = study.load(bundled() / file)
    return study.expand(module.get_config(argument), getattr(module, "sweep", None), argument)


def lacking(name: str) -> str:
    """Which files of a data set are not here; "" where all are, or where it has none."""
    found = data.module(name)
    missing = [file for file in found.FILES.sha256 if found.FILES.find(file) is None] if found.FILES else []
    return f"{name}: {', '.join(missing)} not in {', '.join(map(str, files.roots()))}" if missing else ""


def test_there_are_studies():
    assert {"base.py", "ablations/quickstart.py", "ablations/rosmap_table.py"} <= set(STUDIES)


@pytest.mark.parametrize("argument", ["", "quick"])
@pytest.mark.parametrize("file", STUDIES)
def test_every_study_expands_to_cells_that_are_told_apart(file, argument):
    found = cells(file, argument)
    assert len({cell.identity("") for cell in found}) == len(found) > 0
    plans = [(cell.label, cell.plan) for cell in found]
    rows = {(label, p.control.name or p.model.placement, p.uses_edges, p.protocol, str(p.data)) for label, p in plans}
    assert len(rows) == len(found)
    for cell in found:
        data.loader_of(cell.plan.data.name, cell.plan.data.options)
        assert (cell.seeds == 2) if argument == "quick" else (cell.seeds >= 2), cell.label


@pytest.mark.parametrize("file", [file for file in STUDIES if not file.startswith("claims/")])
def test_a_quick_cell_of_every_study_trains(file, tmp_path):
    """Its first model whose data set is here, one seed of two epochs."""
    models = [cell for cell in cells(file, "quick") if not cell.plan.control.name]
    lacks = [lacking(cell.plan.data.name) for cell in models]
    if all(lacks):
        pytest.skip(lacks[0])
    first = models[lacks.index("")]
    config = json.loads(json.dumps(first.config))
    config["training"] |= dict(epochs=2, chunk=2)
    cell = study.Cell(config, first.label, 1)
    store = Store(tmp_path, create=True)
    done = run_cell(cell, store, data.load(cell.plan.data.name, **cell.plan.data.options))
    assert done["seeds"] == (0,) and store.finished_seeds(done["identity"]) == (0,)
    table, history = (store.table(done["identity"], name) for name in ("metrics", "history"))
    assert set(table.part) == {"train", "val", "test"} and np.isfinite(history.train_loss).all() and len(history) == 2


@pytest.mark.parametrize("name", ["rosmap", "watch"])
def test_the_simple_baseline_has_the_size_of_the_others_wherever_it_stands(name):
    """`tokens.py:match`: within 10 % of concat_mlp, or the cell would fail."""
    if lacks := lacking(name):
        pytest.skip(lacks)
    found = [c for c in cells("ablations/tokens.py", f"match,{name}") if c.plan.model.fusion.name == "late_transformer"]
    loaded = data.load(name, **found[0].plan.data.options)
    assert [c.plan.model.placement for c in found] == [
        "before",
        "after",
        "interleaved",
        "before",
    ]  # the last without graph
    assert all(c.seeds == 10 and c.plan.size.like == "concat_mlp" for c in found)
    assert all(at_its_size(c.plan, loaded).model.dim > 1 for c in found)


def test_every_row_of_the_study_of_reach_comes_near_its_size():
    loaded = data.load("synthetic_reach", distance=2)
    found = cells("ablations/reach.py", "near")
    assert len(found) == 17 and {c.plan.size.parameters for c in found} == {20_000}
    assert all(at_its_size(c.plan, loaded).model.dim > 1 for c in found)


@pytest.mark.parametrize("name", ["handwritten", "scene15", "landuse21", "msrcv1", "leaves100"])
def test_published_rows_of_views_stand_beside_the_split_they_are_of(name):
    module = study.load(bundled() / "ablations/views_table.py")
    names = stated_names([cell.plan.data for cell in cells("ablations/views_table.py", name)])
    rows = [row for row in study.published(module) if row["data"] in names]
    assert len(rows) == 14 and {names[row["data"]] for row in rows} == {name}
    best = max(rows, key=lambda row: row["values"]["accuracy"][0])
    assert best["label"] == "FUML"
