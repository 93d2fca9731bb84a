"""`experiments.claims`: runs or resumes the studies of a folder and writes the ledger."""

import json
import os

import pytest

from fusion_jax.results.lock import holding
from fusion_jax.results.store import Store
from tests import claiming, tiny


@pytest.fixture(autouse=True)
def settings():
    with tiny.as_users_run():
        yield


def test_the_command_runs_what_is_missing_and_writes_the_ledger(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("alpha", "beta"):
        claiming.write(tmp_path / "mine", name)
    flags = f"--folder={tmp_path}/mine", f"--workdir={tmp_path}/r", "--jobs=1"
    status, said = tiny.command("experiments.claims", *flags, "--only=beta", f"--page={tmp_path}/mine/README.md")
    assert status == 0 and "Of 1 claim of 1 paper" in said and "beta: graph" in said
    assert "[beta](beta.py)" in (tmp_path / "mine" / "README.md").read_text()
    before = Store(tmp_path / "r" / "beta").read_study()
    status, said = tiny.command("experiments.claims", *flags)
    assert status == 0 and "Of 2 claims of 2 papers" in said and "alpha: graph" in said and "beta: graph" not in said
    assert Store(tmp_path / "r" / "beta").read_study()["claims"] == before["claims"]
    held = json.loads((tmp_path / "r" / "ledger.json").read_text())
    assert [one["system"] for one in held["claims"]] == ["alpha", "beta"]
    said = tiny.command("experiments.claims", *flags, "--report", "--only=beta")[1]
    assert "Of 2 claims of 2 papers" in said, "the correction is not over those that are asked for alone"


def test_a_cell_that_another_process_trains_is_left_to_it(tmp_path):
    (tmp_path / "mine").mkdir()
    claiming.write(tmp_path / "mine", "alpha")
    flags = f"--folder={tmp_path}/mine", f"--workdir={tmp_path}/r", "--jobs=1"
    assert tiny.command("experiments.claims", *flags)[0] == 0
    store = Store(tmp_path / "r" / "alpha")
    graph = next(cell["id"] for cell in store.read_study()["cells"] if cell["label"] == "graph")
    store.cell(graph).rmtree()
    with holding(store.root, graph):
        status, said = tiny.command("experiments.claims", *flags)
    assert status == 0 and f"alpha: graph: process {os.getpid()} on" in said and "trains it" in said
    assert store.finished_seeds(graph) == ()
    status, said = tiny.command("experiments.claims", *flags)
    assert status == 0 and "alpha: graph\n" in said and store.finished_seeds(graph)


def test_the_exit_status_tells_of_cells_that_failed_and_of_studies_that_could_not_be_run(tmp_path):
    gone = '{"control.name": "label_propagation", "data.name": "tables", "data.options": {"folder": "/nowhere"}}'
    sweep = "def sweep(add):\n", f'def sweep(add):\n    add({gone}, label="gone")\n'
    lost = "seeds=6", 'seeds=6, data__name="tables", data__options={"folder": "/nowhere"}'
    cases = ("alpha", sweep, "alpha: gone: failed: "), ("beta", lost, "warning: beta was not run: ")
    for name, change, told in cases:
        (tmp_path / name).mkdir()
        claiming.write(tmp_path / name, name, change)
        flags = f"--folder={tmp_path}/{name}", f"--workdir={tmp_path}/r_{name}", "--jobs=1"
        status, said = tiny.command("experiments.claims", *flags)
        assert status == 1 and told in said and "/nowhere" in said, said


def test_a_page_that_cannot_be_written_is_named_before_anything_runs(tmp_path):
    claiming.write(tmp_path, "alpha")
    flags = f"--folder={tmp_path}", f"--workdir={tmp_path}/r"
    (tmp_path / "taken").mkdir()
    for page, what in (("taken", "a folder"), ("nowhere/page.md", "in no folder that there is")):
        status, said = tiny.command("experiments.claims", *flags, f"--page={tmp_path}/{page}")
        assert (status, said) == (
            2,
            f"error: the ledger's page {tmp_path}/{page} is {what}; expected a file in a folder\n",
        )
    assert list((tmp_path / "r").iterdir()) == []


def test_a_damaged_study_stops_no_other_and_no_ledger_is_written_without_it(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("alpha", "beta"):
        claiming.write(tmp_path / "mine", name)
    (tmp_path / "r" / "alpha" / "cells").mkdir(parents=True)
    damaged = tmp_path / "r" / "alpha" / "study.json"
    damaged.write_text("{")
    flags = f"--folder={tmp_path}/mine", f"--workdir={tmp_path}/r", "--jobs=1"
    status, said = tiny.command("experiments.claims", *flags)
    assert status == 2 and said.splitlines()[-1].startswith(f"error: {damaged} is not valid JSON")
    assert "warning: no ledger after beta" in said and len(Store(tmp_path / "r" / "beta").read_study()["cells"]) == 2
    assert not (tmp_path / "r" / "README.md").exists()


def test_claims_are_listed_without_a_run_and_mistakes_are_one_line(tmp_path):
    claiming.write(tmp_path, "alpha")
    flags = f"--folder={tmp_path}", f"--workdir={tmp_path}/r"
    status, said = tiny.command("experiments.claims", *flags, "--dry_run")
    assert (status, said) == (0, "alpha: alpha the graph alone tells more than features\n")
    assert not (tmp_path / "r").exists()
    status, said = tiny.command("experiments.claims", *flags, "--only=alpah")
    assert status == 2 and said.count("\n") == 1 and "did you mean 'alpha'" in said
    path = claiming.write(tmp_path, "alpha", ('than="features"', 'than="featurse"'))
    status, said = tiny.command("experiments.claims", *flags, "--dry_run")
    assert status == 2 and said.startswith(f"error: {path}: claim") and "did you mean 'features'" in said
