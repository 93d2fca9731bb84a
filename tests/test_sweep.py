"""The runner of a study: what fails is recorded, what is finished stays, what was interrupted goes on."""

import dataclasses
import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from etils.epath import gpath
from rich.console import Console

import fusion_jax.controls
import fusion_jax.fusion
from experiments import sweep, train
from fusion_jax import study
from fusion_jax.results.store import Store
from tests import tiny

pytestmark = pytest.mark.xdist_group("sweep")
ROOT = pathlib.Path(__file__).parents[1]
STUDY = """
from tests import tiny

def get_config(arg=""):
    return tiny.config()

def sweep(add):
    {cells}
"""


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@pytest.fixture
def study_file(tmp_path):
    def write(*cells):
        path = tmp_path / "study.py"
        path.write_text(STUDY.format(cells="\n    ".join(f"add({c})" for c in cells)))
        return str(path)

    return write


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A folder whose files are found as controls and fusions, as if they lay in the package; write(name, text)."""
    folder = tmp_path / "scratch"
    folder.mkdir()

    def write(kind, name, text):
        package = dict(control=fusion_jax.controls, fusion=fusion_jax.fusion)[kind]
        if str(folder) not in package.__path__:
            monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        (folder / f"{name}.py").write_text(text)
        sys.modules.pop(f"{package.__name__}.{name}", None)
        for cached in folder.glob("__pycache__/*"):
            cached.unlink()

    yield write
    for file in folder.glob("*.py"):
        for package in (fusion_jax.controls, fusion_jax.fusion):
            sys.modules.pop(f"{package.__name__}.{file.stem}", None)


CONTROL = '''"""A control of a test."""
import numpy as np
from fusion_jax.controls.base import Control
from fusion_jax.records import Info

class Scratch(Control):
    """As below."""
    info = Info("none")
    def predict(self, x, labels, split, graph, classes, seed):
        {body}
        return np.eye(classes)[np.arange(len(x)) % classes]
'''
LR, RBF, LP = ({"control.name": n} for n in ("logistic_regression", "rbf_svm", "label_propagation"))
SCRATCH = {"control.name": "scratch"}


def run(file, workdir, *more):
    return tiny.command("experiments.sweep", f"--config={file}", f"--workdir={workdir}", "--jobs=1", *more)


def state(workdir):
    """{file: (time of writing, content)} of all cells."""
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in pathlib.Path(workdir, "cells").rglob("*") if p.is_file()}


def cells(workdir):
    store = Store(workdir)
    return store, {c["label"]: c["id"] for c in store.read_study()["cells"]}


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
    monkeypatch.setattr(train, "run_cell", lambda *a: pytest.fail("a finished cell was started"))
    status, out = run(file, workdir)
    assert status == 0 and "2 cells, 2 finished before" in out
    status, out = run(study_file(LP, LR), workdir)  # another order: the same cells, the report follows the study
    assert status == 0 and list(cells(workdir)[1]) == ["label_propagation", "logistic_regression"]
    assert state(workdir) == before


def test_a_folder_whose_seeds_had_another_split_is_refused(study_file, tmp_path, monkeypatch):
    file, workdir = study_file(LR), tmp_path / "results"
    assert run(file, workdir)[0] == 0
    before = state(workdir)
    usual = sweep.load_data

    def other_splits(name, **options):
        data = usual(name, **options)

        def draw(seed):
            return data.splits.draw(seed and seed + 5)

        return dataclasses.replace(data, splits=dataclasses.replace(data.splits, draw=draw))

    monkeypatch.setattr("fusion_jax.data.load", other_splits)
    status, out = run(file, workdir)
    assert status == 2 and "seed 1: its split is not the one it was trained on" in out
    assert state(workdir) == before


def test_data_that_fails_validation_fails_its_cells_and_no_others(study_file, tmp_path, monkeypatch):
    usual = sweep.load_data

    def broken(name, **options):
        if options.get("seed") == 1:
            raise ValueError("data set 'synthetic', field target.labels: row 3 is 7")
        return usual(name, **options)

    monkeypatch.setattr("fusion_jax.data.load", broken)
    file = study_file(LR, {"control.name": "rbf_svm", "data.options.seed": 1})
    status, out = run(file, tmp_path / "results")
    assert status == 1 and "FAILED ValueError: data set 'synthetic', field target.labels" in out
    assert "1 cells trained, 1 failed" in out


def test_data_that_cannot_be_loaded_today_hides_nothing_that_is_finished(study_file, tmp_path, monkeypatch):
    file, workdir, usual = study_file(LR, {"control.name": "rbf_svm", "data.options.seed": 1}), tmp_path / "r", []
    assert run(file, workdir)[0] == 0
    before, usual = state(workdir), sweep.load_data
    report = (workdir / "report" / "table.csv").read_text()

    def lost(name, **options):
        if options.get("seed") == 1:
            raise OSError("no such file")
        return usual(name, **options)

    monkeypatch.setattr("fusion_jax.data.load", lost)
    status, out = run(file, workdir)
    assert status == 0 and "2 cells, 2 finished before" in out
    assert state(workdir) == before and (workdir / "report" / "table.csv").read_text() == report
    status, out = run(file, workdir, "--config.seeds=3")
    assert status == 1 and "1 cells trained, 1 failed" in out and "FAILED OSError: no such file" in out
    _, ids = cells(workdir)
    assert len(list((workdir / "cells").iterdir())) == len(ids) == 2


@pytest.mark.parametrize("name", ["record.json", "cost.json", "metrics.parquet"])
def test_a_damaged_cell_fails_alone_and_says_how_to_train_it_again(study_file, tmp_path, name):
    file, workdir = study_file(LR, RBF), tmp_path / "r"
    assert run(file, workdir)[0] == 0
    store, ids = cells(workdir)
    damaged = next(pathlib.Path(store.cell(ids["rbf_svm"])).rglob(name))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    status, out = run(study_file(LR, RBF, LP), workdir)
    whole = " ".join(out.split())
    assert name in whole and "| logistic_regression | - | **0." in out and "label_propagation" in out
    if name != "metrics.parquet":  # which nothing but the report reads
        assert status == 1 and f"to train the cell again remove {store.cell(ids['rbf_svm'])}" in whole
        assert "1 cells trained, 1 failed" in out


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
    found = sweep.identify(made, dict.fromkeys(map(sweep.data_key, made), data))
    assert [cell.label for _, cell in found] == ["left", "other"]
    assert [identity for identity, _ in found] == [made[0].identity(data), made[2].identity(data)]
    failed = sweep.identify(made, dict.fromkeys(map(sweep.data_key, made), OSError("not there")))
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


def test_dry_run_lists_the_cells_and_touches_nothing(study_file, tmp_path):
    workdir = tmp_path / "results"
    status, out = run(study_file(LR, {"model.fusion.name": "gmu", "model.placement": "after"}), workdir, "--dry_run")
    assert status == 0 and not workdir.exists()
    lines = out.splitlines()
    assert [line.split() for line in lines] == [
        ["logistic_regression", "-", "synthetic", "seeds=2"],
        ["gmu", "after", "synthetic", "seeds=2"],
    ]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"model.dmi": 3}, "no config key 'model.dmi' (did you mean 'model.dim'?)"),
        ({"model.fusion.name": "gmuu"}, "did you mean 'gmu'"),
        ({"data.name": "syntetic", "data.options": {}}, "did you mean 'synthetic'"),
        ({"data.options": {"node": 60}}, "has no option 'node' (did you mean 'nodes'?)"),
    ],
)
def test_a_study_that_cannot_run_is_refused_before_anything_is_trained(study_file, tmp_path, cell, message):
    status, out = run(study_file(LR, cell), tmp_path / "results")
    assert status == 2 and out.startswith("error:") and message in " ".join(out.split())
    assert not list(tmp_path.glob("results/cells/*"))
    dry = run(study_file(LR, cell), tmp_path / "results", "--dry_run")
    assert dry[0] == 2 and message in " ".join(dry[1].split())


@pytest.mark.parametrize("module", ["experiments.sweep", "experiments.train"])
def test_a_misspelt_command_line_names_the_nearest(module, tmp_path):
    def refused(*args):
        status, out = tiny.command(module, *args, f"--workdir={tmp_path}/results")
        assert status == 2 and not (tmp_path / "results").exists()
        return out

    assert "(did you mean 'model.dim'?)" in refused("--config=configs/base.py", "--config.model.dmi=3")
    assert "(did you mean 'configs/base.py'?)" in refused("--config=configs/bse.py")
    assert "(did you mean 'quick'?)" in refused("--config=configs/base.py:quik")


def test_a_results_folder_that_cannot_be_written_is_a_clear_error(study_file, tmp_path):
    (tmp_path / "file").write_text("in the way")
    status, out = run(study_file(LR), tmp_path / "file" / "results")
    assert status == 2 and "error: cannot write results to" in out and "Traceback" not in out
    assert (tmp_path / "file").read_text() == "in the way"


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
    def node(self, x, mask, *, key=None):
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


def test_one_cell_by_the_train_command(study_file, tmp_path):
    file = study_file(LR)  # its sweep is not looked at
    args = (f"--config={file}", f"--workdir={tmp_path}/results", "--config.control.name=logistic_regression")
    status, out = tiny.command("experiments.train", *args)
    assert status == 0 and "logistic_regression" in out and "accuracy" in out
    store, ids = cells(tmp_path / "results")
    assert store.finished_seeds(ids["logistic_regression"]) == (0, 1)
    table = store.table(ids["logistic_regression"], "metrics")
    assert f"{table[(table.part == 'test') & (table.metric == 'accuracy')].value.mean():.4f}" in out


def test_two_cells_at_a_time_give_the_results_of_one(study_file, tmp_path):
    module = study.load(study_file(LR, RBF, LP))
    found = []
    for jobs in (1, 3):
        store = Store(tmp_path / str(jobs), create=True)
        made = study.expand(module.get_config(), module.sweep)
        assert sweep.run(made, store, "test", jobs=jobs, console=Console(quiet=True)) == 0
        found.append({label: store.table(i, "metrics") for label, i in cells(tmp_path / str(jobs))[1].items()})
    assert list(found[0]) == list(found[1]) == ["logistic_regression", "rbf_svm", "label_propagation"]
    assert all(found[0][k].equals(found[1][k]) for k in found[0])


SLOW = """
import os, signal
import fusion_jax.controls
from fusion_jax.training import checkpoint
from tests import tiny

fusion_jax.controls.__path__.append(os.environ["SCRATCH"])
save = checkpoint.save

def last(path, tree):
    save(path, tree)
    if path.name == "step-00000060":
        os.kill(os.getpid(), signal.SIGKILL)

if "KILL" in os.environ:
    checkpoint.save = last

def get_config(arg=""):
    config = tiny.config(training__epochs=600, training__patience=600, training__chunk=20)
    config.training.checkpoint_seconds = 0.0
    return config

def sweep(add):
    add({"control.name": "logistic_regression"})
    add({"control.name": "scratch"})
    add({})
"""
WAIT = """import os, pathlib, threading
        if "WAIT" in os.environ:
            pathlib.Path(os.environ["WAIT"]).touch()
            threading.Event().wait()"""


# What is started by a test run in the background has Ctrl-C switched off, as that has.
ATTENTIVE = """import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("experiments.sweep", run_name="__main__", alter_sys=True)
"""


class Running:
    """`python -m experiments.sweep` in a process of its own."""

    def __init__(self, tmp_path, **env):
        flags = f"--config={tmp_path}/slow.py", f"--workdir={tmp_path}/results", "--jobs=1"
        plain = dict(JAX_ENABLE_X64="0", JAX_NUMPY_DTYPE_PROMOTION="standard", SCRATCH=str(tmp_path / "scratch"))
        self.process = subprocess.Popen(
            [sys.executable, "-c", ATTENTIVE, *flags],
            cwd=ROOT,
            env={**os.environ, **plain, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, happened):
        while not happened():
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.01)

    def end(self):
        out, _ = self.process.communicate()
        return self.process.returncode, out


def test_ctrl_c_and_kill_lose_no_finished_cell_and_change_no_number(tmp_path):
    results = tmp_path / "results"
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "scratch.py").write_text(CONTROL.format(body=WAIT))
    (tmp_path / "slow.py").write_text(SLOW)

    interrupted = Running(tmp_path, WAIT=str(tmp_path / "waiting"))
    interrupted.until((tmp_path / "waiting").exists)
    interrupted.process.send_signal(signal.SIGINT)
    status, out = interrupted.end()
    assert status == 130 and "interrupted; 1 of 3 cells are finished and stay" in out and "Traceback" not in out
    store, ids = cells(results)
    assert [bool(store.finished_seeds(i)) for i in ids.values()] == [True, False, False]
    first = {p: v for p, v in state(results).items() if ids["logistic_regression"] in str(p)}

    status, out = Running(tmp_path, KILL="after the third save").end()
    assert status == -signal.SIGKILL and "3 cells, 1 finished before" in out
    saves = (results / "cells" / ids["mean"]).glob(".partial-*/step-*")
    assert store.finished_seeds(ids["mean"]) == () and "step-00000060" in {p.name for p in saves}

    status, out = Running(tmp_path).end()
    assert status == 0 and "3 cells, 2 finished before" in out and "1 cells trained, 0 failed" in out
    assert all(state(results)[p] == v for p, v in first.items())
    leftovers = [p for p in results.rglob("*") if p.name.startswith((".tmp", ".partial", ".probe"))]
    assert leftovers == []

    whole = Store(tmp_path / "whole", create=True)
    changes = dict(training__epochs=600, training__patience=600, training__chunk=20)
    again = train.run_cell(tiny.cell(**changes), whole, tiny.dataset())
    assert again["identity"] == ids["mean"]
    for name in ("history", "metrics", "predictions"):
        a, b = whole.table(ids["mean"], name), store.table(ids["mean"], name)
        assert list(a) == list(b)
        for column in a:
            x, y = (np.stack(t[column]) if column == "prediction" else t[column].to_numpy() for t in (a, b))
            np.testing.assert_array_equal(x, y)
    record = json.loads((results / "cells" / ids["mean"] / "record.json").read_text())
    assert record["seeds"] == [0, 1]
