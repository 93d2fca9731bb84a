"""What a page says of cells: their states, their configs, their learning curves."""

import numpy as np
import pytest

from fusion_jax.results import page_cells
from fusion_jax.results.lock import exclusive, holding
from fusion_jax.study import flatten
from tests import pages


@pytest.fixture
def made(tmp_path):
    return pages.Pages(tmp_path / "study")


def test_states_errors_and_how_many_there_are_of_each(made):
    done = made.add("done", seeds=2)
    failed = made.add("failed", seeds=0, error="ValueError: no")
    partly = made.add("partly", seeds=1, wanted=2)
    mended = made.add("mended", seeds=2)
    made.store.write_failure(mended, made.cells[3][1], "an attempt before", "")
    found = page_cells.state(made.store, made.store.read_study())
    assert [found[i]["state"] for i in (done, failed, partly, mended)] == ["done", "failed", "waiting", "done"]
    assert found[failed]["error"] == "ValueError: no" and "Traceback" in found[failed]["traceback"]
    assert found[partly]["finished"] == [0] and "error" not in found[mended]
    assert page_cells.counts(found) == dict(done=2, failed=1, running=0, waiting=1)


def test_configs_are_what_is_common_and_what_is_a_cell_s_own(made):
    made.add("a", seeds=1, model__placement="before")
    made.add("b", seeds=1, model__placement="after", model__dim=16)
    study = made.store.read_study()
    found = page_cells.collect(made.store, study)
    for entry in study["cells"]:
        own = found["cells"][entry["id"]]["config"]
        assert {**found["common"], **own} == flatten(entry["config"]) and not found["common"].keys() & own.keys()
    assert own["model.dim"] == 16 and found["environments"][0]["versions"]["jax"]


def test_a_damaged_cell_says_so(made):
    identity = made.add("a", seeds=1)
    (made.store.cell(identity) / "seeds-0000-0000" / "cost.json").write_text("{}")
    found = page_cells.collect(made.store, made.store.read_study())["cells"][identity]
    assert "cost.json is damaged" in found["damaged"] and found["state"] == "done"


def test_curves_are_thinned_to_epochs_that_were_looked_at():
    epochs = np.tile(np.arange(200), 2)
    seeds = np.repeat([0, 3], 200)
    looked = epochs % 2 == 1
    loss = np.where(looked, 1 / (1 + epochs + seeds), np.nan)
    kept = ~((seeds == 3) & (epochs > 100))  # stopped
    history = dict(seed=seeds, epoch=epochs, train_loss=np.exp(-epochs / 50.0), val_loss=loss)
    found = page_cells.curves({name: column[kept] for name, column in history.items()})
    assert len(found["epochs"]) == page_cells.POINTS and all(e % 2 for e in found["epochs"])
    assert found["epochs"][0] == 1 and found["epochs"][-1] == 199 and list(found["seeds"]) == [0, 3]
    np.testing.assert_allclose(found["val_loss"][0], 1 / (1 + found["epochs"]), rtol=1e-3)
    assert np.isnan(found["val_loss"][1][found["epochs"] > 100]).all() and "val_score" not in found
    assert page_cells.curves(dict(seed=np.array([]), epoch=np.array([]))) == {}


def test_a_cell_that_a_process_holds_runs_and_what_a_killed_one_left_waits(made):
    made.add("lmf", seeds=0)
    made.add("gmu", seeds=0, model__placement="before")
    held, left = (identity for identity, _ in made.cells[-2:])
    (made.store.cell(left) / ".partial-0000-0001-none").mkdir(parents=True)

    def states():
        found = page_cells.state(made.store, made.store.read_study())
        return found[held]["state"], found[left]["state"]

    with exclusive(made.store.root), holding(made.store.root, held):
        assert states() == ("running", "waiting")
    assert states() == ("waiting", "waiting")


def test_four_digits_are_kept():
    values = np.array([0.123456, 123456.0, -1.5e-9, 0.0, np.nan, np.inf, 99.996])
    found = page_cells.rounded(values)
    np.testing.assert_allclose(found[[0, 1, 2, 3, 6]], [0.1235, 123500.0, -1.5e-9, 0.0, 100.0])
    assert repr(float(found[0])) == "0.1235" and np.isnan(found[4]) and np.isinf(found[5])


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("configs/ablations/quickstart.py:quick", "quickstart:quick"),
        ("/somewhere/mine.py", "mine"),
        ("", "study"),
        ("notebook", "notebook"),
    ],
)
def test_a_study_is_called_as_its_file(made, source, title):
    assert page_cells.title(made.store, dict(source=source)) == title
