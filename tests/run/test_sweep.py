"""The runner of a study: what fails is recorded, what is finished stays, what was interrupted goes on."""

import dataclasses
import errno
import json
import os
import pathlib
import shutil

import pytest
from etils.epath import gpath

from fusion_jax.data import load as load_data
from fusion_jax.run.sweep import data_key, identify
from tests import folders, tiny
from tests.studies import CONTROL, LP, LR, RBF, SCRATCH, cells, run, state

pytestmark = pytest.mark.xdist_group("sweep")


def test_a_failing_cell_is_recorded_the_others_go_on_and_once_fixed_it_is_retrained(study_file, tmp_path, scratch):
    scratch("control", "scratch", CONTROL.format(body="raise RuntimeError('line one\\nline two')"))
    file, workdir = study_file(LR, SCRATCH, LP), tmp_path / "results"
    status, out = run(file, workdir)
    assert status == 1, out
    assert "scratch" in out and "FAILED RuntimeError: line one" in out and "2 cells trained, 1 failed" in out
    store, ids = cells(workdir)
    assert store.finished_seeds(ids["logistic_regression"]) == store.finished_seeds(ids["label_propagation"]) == (0, 1)
    failure = store.failure(ids["scratch"])
    assert failure["error"] == "RuntimeError: line one\nline two"
    assert "Traceback" in failure["traceback"] and "in predict" in failure["traceback"]
    status, out = tiny.command("experiments.report", f"--workdir={workdir}")
    assert status == 0 and "| scratch | - | FAILED: RuntimeError: line one | - |" in out

    before = state(workdir)
    scratch("control", "scratch", CONTROL.format(body="pass"))
    status, out = run(file, workdir)
    assert status == 0 and "3 cells, 2 finished before" in out and "1 cells trained, 0 failed" in out
    after = state(workdir)
    others = [p for p in before if ids["scratch"] not in str(p)]
    assert len(others) > 6 and all(after[p] == before[p] for p in others)
    assert store.failure(ids["scratch"]) is None and store.finished_seeds(ids["scratch"]) == (0, 1)
    assert "FAILED" not in tiny.command("experiments.report", f"--workdir={workdir}")[1]

    status, out = run(file, workdir)
    assert status == 0 and "3 cells, 3 finished before" in out and state(workdir) == after


def test_finished_cells_are_not_even_started(study_file, tmp_path, monkeypatch):
    file, workdir = study_file(LR, LP), tmp_path / "results"
    assert run(file, workdir)[0] == 0
    before = state(workdir)
    monkeypatch.setattr("fusion_jax.run.engines.base.run_cell", lambda *a, **k: pytest.fail("a finished cell ran"))
    status, out = run(file, workdir)
    assert status == 0 and "2 cells, 2 finished before" in out
    status, out = run(study_file(LP, LR), workdir)  # another order: the same cells, the report follows the study
    assert status == 0 and list(cells(workdir)[1]) == ["label_propagation", "logistic_regression"]
    assert state(workdir) == before


def test_a_folder_whose_seeds_had_another_split_is_refused(study_file, tmp_path, monkeypatch):
    file, workdir = study_file(LR), tmp_path / "results"
    assert run(file, workdir)[0] == 0
    before = state(workdir)

    def other_splits(name, **options):
        data = load_data(name, **options)

        def draw(seed):
            return data.splits.draw(seed and seed + 5)

        return dataclasses.replace(data, splits=dataclasses.replace(data.splits, draw=draw))

    monkeypatch.setattr("fusion_jax.run.sweep.load_data", other_splits)
    status, out = run(file, workdir)
    assert status == 2 and "seed 1: its split is not the one it was trained on" in out
    assert state(workdir) == before


def test_data_that_fails_validation_fails_its_cells_and_no_others(study_file, tmp_path, monkeypatch):
    def broken(name, **options):
        if options.get("seed") == 1:
            raise ValueError("data set 'synthetic', field target.labels: row 3 is 7")
        return load_data(name, **options)

    monkeypatch.setattr("fusion_jax.run.sweep.load_data", broken)
    file = study_file(LR, {"control.name": "rbf_svm", "data.options.seed": 1})
    status, out = run(file, tmp_path / "results")
    assert status == 1 and "FAILED ValueError: data set 'synthetic', field target.labels" in out
    assert "1 cells trained, 1 failed" in out
    cause = "ValueError: data set 'synthetic', field target.labels: row 3 is 7"
    assert out.splitlines()[-1] == f"warning: the data set of 1 failed cells cannot be loaded: {cause}"


def test_data_that_cannot_be_loaded_today_hides_nothing_that_is_finished(study_file, tmp_path, monkeypatch):
    file, workdir = study_file(LR, {"control.name": "rbf_svm", "data.options.seed": 1}), tmp_path / "r"
    assert run(file, workdir)[0] == 0
    before = state(workdir)
    report = (workdir / "report" / "table.csv").read_text()

    def lost(name, **options):
        if options.get("seed") == 1:
            raise OSError("no such file")
        return load_data(name, **options)

    monkeypatch.setattr("fusion_jax.run.sweep.load_data", lost)
    status, out = run(file, workdir)
    assert status == 0 and "2 cells, 2 finished before" in out
    assert state(workdir) == before and (workdir / "report" / "table.csv").read_text() == report
    status, out = run(file, workdir, "--config.seeds=3")
    assert status == 1 and "1 cells trained, 1 failed" in out and "FAILED OSError: no such file" in out
    _, ids = cells(workdir)
    assert len(list((workdir / "cells").iterdir())) == len(ids) == 2


@pytest.mark.parametrize("name", ["record.json", "cost.json", "predictions.parquet", "metrics.parquet"])
def test_a_damaged_cell_fails_alone_and_says_how_to_train_it_again(study_file, tmp_path, name):
    file, workdir = study_file(LR, RBF), tmp_path / "r"
    assert run(file, workdir)[0] == 0
    store, ids = cells(workdir)
    damaged = next(pathlib.Path(store.cell(ids["rbf_svm"])).rglob(name))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    status, out = run(study_file(LR, RBF, LP), workdir)
    whole = " ".join(out.split())
    assert name in whole and "| logistic_regression | - | **0." in out and "label_propagation" in out
    assert status == 1 and f"to train the cell again remove {store.cell(ids['rbf_svm'])}" in whole
    assert "1 cells trained, 1 failed" in out


def test_a_cell_in_the_folder_of_another_is_none_of_the_study(study_file, tmp_path):
    file, workdir = study_file(LR, RBF), tmp_path / "r"
    assert run(file, workdir)[0] == 0
    store, ids = cells(workdir)
    own, other = (store.cell(ids[label]) for label in ("rbf_svm", "logistic_regression"))
    shutil.rmtree(own)
    shutil.copytree(other, own)
    status, out = run(file, workdir)
    said = f"{own}/record.json is the record of another cell, {ids['logistic_regression']}; expected {ids['rbf_svm']}"
    assert status == 1 and said in " ".join(out.split())


def test_a_study_of_another_schema_is_not_swept_over(study_file, tmp_path):
    file, workdir = study_file(LR), tmp_path / "r"
    assert run(file, workdir)[0] == 0
    path = workdir / "study.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "schema"}))
    before = path.read_bytes()
    status, out = run(study_file(RBF), workdir)
    assert status == 2 and "lists cells of schema 1" in out and path.read_bytes() == before


def test_cells_that_are_the_same_on_their_data_set_are_one():
    """What is left to the data set and what is written out: one row, one training."""
    data = tiny.dataset()
    made = [
        tiny.cell(label=label, **changes)
        for label, changes in (
            ("left", {}),
            ("written", dict(data__graph="planted", data__setting="transductive")),
            ("other", dict(data__setting="inductive")),
        )
    ]
    found = identify(made, dict.fromkeys(map(data_key, made), data))
    assert [cell.label for _, cell in found] == ["left", "other"]
    assert [identity for identity, _ in found] == [made[0].identity(data), made[2].identity(data)]
    failed = identify(made, dict.fromkeys(map(data_key, made), OSError("not there")))
    assert [identity for identity, _ in failed] == [cell.identity("not loaded") for cell in made]


def test_more_seeds_on_the_command_line_train_the_missing_ones(study_file, tmp_path):
    file, workdir = study_file(LR), tmp_path / "results"
    assert run(file, workdir)[0] == 0
    before = state(workdir)
    status, out = run(file, workdir, "--config.seeds=4")
    assert status == 0 and "1 cells, 0 finished before" in out
    store, ids = cells(workdir)
    assert [seeds for _, seeds in store.parts(ids["logistic_regression"])] == [[0, 1], [2, 3]]
    after = state(workdir)
    assert all(after[p] == before[p] for p in before if "seeds-0000-0001" in str(p))


def test_a_full_disk_fails_the_cell_and_leaves_finished_ones(study_file, tmp_path, monkeypatch):
    workdir = tmp_path / "results"
    assert run(study_file(LR), workdir)[0] == 0
    file, before = study_file(LR, RBF, LP), state(workdir)
    write_bytes = gpath.PosixGPath.write_bytes

    def full(self, data):
        if "cells" in self.parts:
            write_bytes(self, data[:3])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(self, data)

    monkeypatch.setattr(gpath.PosixGPath, "write_bytes", full)
    status, out = run(file, workdir)
    assert status == 1 and out.count("No space left on device") == 4  # two cells, neither of which can be recorded
    assert "and its failure could not be recorded" in out and "Traceback" not in out
    assert state(workdir) == before, "finished cells as they were, nothing half-written"
    monkeypatch.undo()
    status, out = run(file, workdir)
    assert status == 0 and "3 cells, 1 finished before" in out
    after = state(workdir)
    assert all(after[p] == before[p] for p in before)


def test_a_disk_full_at_the_start_is_a_clear_error(study_file, tmp_path, monkeypatch):
    write_text = gpath.PosixGPath.write_text

    def full(self, *args, **kwargs):
        write_text(self, "")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(gpath.PosixGPath, "write_text", full)
    status, out = run(study_file(LR), tmp_path / "results")
    assert status == 2 and "error: cannot write results" in out and "No space left" in out


FUSION = '''"""The present modalities, each by a weight of its own, added up."""
import jax.numpy as jnp
from flax import nnx
from fusion_jax.fusion.base import Fusion
from fusion_jax.records import Fused, Info

class BrandNew(Fusion):
    """out = sum_m w_m x_m."""
    info = Info("A test", 2024)
    def __init__(self, modalities, dim, *, start=0.5, rngs):
        self.w = nnx.Param(jnp.full(modalities, start))
    def node(self, x, mask, context):
        return Fused((self.w[...][:, None] * jnp.where(mask[:, None], x, 0)).sum(0))
'''


def test_a_new_fusion_is_one_file(study_file, tmp_path, scratch):
    scratch("fusion", "brand_new", FUSION)
    new = {"model.fusion.name": "brand_new", "seeds": 1, "training.epochs": 3}
    file = study_file(new, {**new, "model.fusion.options": {"start": 0.25}, "model.placement": "after"})
    status, out = run(file, tmp_path / "results")
    assert status == 0 and "2 cells trained, 0 failed" in out
    store, ids = cells(tmp_path / "results")
    assert list(ids) == ["brand_new", "brand_new(start=0.25)"]
    assert store.config(ids["brand_new"])["model"]["fusion"]["options"] == {"start": 0.5}
    status, out = tiny.command("experiments.report", f"--workdir={tmp_path}/results")
    assert "| brand_new(start=0.25) | after |" in out
    status, out = run(study_file({**new, "model.fusion.name": "brand_newer"}), tmp_path / "results")
    assert status == 2 and "did you mean 'brand_new'" in out


def test_what_became_of_the_users_own_tables_is_printed_once(study_file, tmp_path):
    folder = folders.write(tmp_path / "mine", nodes=60)
    own = {"data.name": "tables", "data.options": {"folder": str(folder)}}
    file, workdir = study_file({**LR, **own}, {**LP, **own}), tmp_path / "results"
    status, out = run(file, workdir)
    assert status == 0 and "2 cells trained, 0 failed" in out
    assert out.count("data set 'mine'\n  60 nodes (union of 2 feature tables)\n") == 1
    assert "### mine; protocol honest" in out, "the table is named like the folder"
    folder.rename(tmp_path / "moved")
    own["data.options"]["folder"] = str(tmp_path / "moved")
    status, out = run(study_file({**LR, **own}, {**LP, **own}), workdir)
    assert status == 0 and "2 cells, 2 finished before" in out, "where it lies does not count"
