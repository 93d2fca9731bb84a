"""Several processes at one study: each trial once, whoever is killed, and no other study beside it."""

import collections
import dataclasses
import errno
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from fusion_jax.results.lease import Lost
from fusion_jax.results.lock import holding
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.run.engines.base import Job, run_job
from tests import studies, tiny
from tests.studies import CONTROL, LP, LR, RBF, cells, state

pytestmark = pytest.mark.xdist_group("processes")
ROOT = pathlib.Path(__file__).parents[2]

AT_WORK = """
import sys
from etils import epath
from fusion_jax.results.joint import Joint
with Joint(epath.Path(sys.argv[1])) as joint:
    with joint.begun():
        pass
    print("at work", flush=True)
    sys.stdin.read()
"""

STUDY = """
import os, pathlib, signal, threading
import fusion_jax.controls
from fusion_jax.training import checkpoint
from tests import tiny

SCRATCH = pathlib.Path(os.environ["SCRATCH"])
fusion_jax.controls.__path__.append(str(SCRATCH))
save, restore = checkpoint.save, checkpoint.restore

def last(path, tree):
    save(path, tree)
    if path.name == "step-00000060":
        (SCRATCH / "saved").touch()
        threading.Event().wait()

def again(path, like=None):
    with open(SCRATCH / "restored", "a") as file:
        file.write(path.name + " ")
    return restore(path, like)

if "SLOW" in os.environ:
    checkpoint.save = last
if restore.__module__ == checkpoint.__name__:  # this file is executed more than once
    checkpoint.restore = again

def get_config(arg=""):
    config = tiny.config(training__epochs=120, training__patience=120, training__chunk=20)
    config.training.checkpoint_seconds = 0.0
    return config

def sweep(add):
    add({})
    for seed in range(5):
        add({"control.name": "scratch", "data.options.seed": seed}, label=f"scratch {seed}")
"""

TRIAL = """import os, pathlib, time, zlib
        place = pathlib.Path(os.environ["SCRATCH"])
        with open(place / "trials", "a") as file:
            file.write(f"{zlib.crc32(x.tobytes())} {seed} {os.getpid()}\\n")
        while "SLOW" not in os.environ and not (place / "killed").exists():
            time.sleep(0.01)"""


class Process:
    """Another process, from its first line on."""

    def __init__(self, *command, **env):
        plain = dict(JAX_ENABLE_X64="0", JAX_NUMPY_DTYPE_PROMOTION="standard")
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **plain, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, happened):
        while not happened():
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.01)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self):
        out, _ = self.process.communicate()
        return self.process.returncode, out


def test_whoever_comes_later_joins_the_same_study_and_begins_no_other(study_file, tmp_path):
    workdir = tmp_path / "r"
    assert studies.run(study_file(LR, LP), workdir)[0] == 0
    for cell in (workdir / "cells").iterdir():
        shutil.rmtree(cell)
    before = (workdir / "study.json").read_bytes()
    other = Process("-c", AT_WORK, str(workdir))
    try:
        assert other.process.stdout.readline() == "at work\n"
        for made, flag, message in (
            ((LR, RBF), "--display=none", "works on another study here, of other cells, seeds"),
            ((LR, LP), "--config.seeds=3", "works on another study here, of other cells, seeds"),
            ((LR, LP), "--until_decided", "another folder: --until_decided looks at all cells"),
        ):
            status, out = studies.run(study_file(*made), workdir, flag)
            assert status == 2 and f"error: {workdir}: process {other.process.pid} on " in out and message in out, out
            assert f"process {os.getpid()} on" not in out, "it names itself"
        train = f"--config={study_file(LR, LP)}", f"--workdir={workdir}", "--config.control.name=rbf_svm"
        status, out = tiny.command("experiments.train", *train)
        assert status == 2 and f"process {other.process.pid} on " in out and "is writing results here" in out, out
        assert (workdir / "study.json").read_bytes() == before and list((workdir / "cells").iterdir()) == []

        status, out = studies.run(study_file(LR, LP), workdir)
        assert status == 0 and "2 cells trained, 0 failed" in out, out
        assert (workdir / "study.json").read_bytes() == before
    finally:
        other.kill()
    status, out = studies.run(study_file(LR, RBF), workdir)
    assert status == 0 and "2 cells, 1 finished before" in out, "nobody works on it any more"


@pytest.mark.filterwarnings("ignore:.*file system without locks")
@pytest.mark.parametrize("locks", [True, False])
def test_a_cell_that_another_process_holds_is_left_to_it(study_file, tmp_path, monkeypatch, locks):
    def refuse(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    file, workdir = study_file(LR, LP, RBF), tmp_path / "r"
    if not locks:
        monkeypatch.setattr(fcntl, "flock", refuse)
    assert studies.run(file, workdir)[0] == 0
    store, ids = cells(workdir)
    for label in ("label_propagation", "rbf_svm"):
        shutil.rmtree(store.cell(ids[label]))
    with holding(store.root, ids["label_propagation"]):
        status, out = studies.run(file, workdir)
    assert status == 0 and "3 cells, 1 finished before" in out and "1 cells trained, 0 failed" in out, out
    said = "1 cells are not in this report, since other processes train them: label_propagation - synthetic (process"
    assert out.splitlines()[-1].startswith(f"warning: {said}")
    assert store.finished_seeds(ids["rbf_svm"]) == (0, 1) and store.finished_seeds(ids["label_propagation"]) == ()
    status, out = studies.run(file, workdir)
    assert status == 0 and "1 cells trained, 0 failed" in out and "not in this report" not in out
    assert store.finished_seeds(ids["label_propagation"]) == (0, 1)


def test_what_another_process_has_done_since_the_cells_were_listed_is_not_done_again(tmp_path, scratch):
    scratch("control", "scratch", CONTROL.format(body="raise RuntimeError('no')"))
    store, data, told = Store(tmp_path / "r", create=True), tiny.dataset(), []

    def job(tell=None, **changes):
        cell = tiny.cell(**changes)
        return Job(cell.identity(data), cell, store, data, tell=tell, failed={})

    first, second = (job(told.append, control__name="label_propagation") for _ in range(2))
    assert run_job(first).result["seeds"] == (0, 1)
    before, heard = state(store.root), len(told)
    assert run_job(second).result["seeds"] == () and state(store.root) == before and len(told) == heard > 0

    first, second = (job(control__name="scratch") for _ in range(2))
    outcome = run_job(first)
    before = state(store.root)
    assert outcome.error == "RuntimeError: no" and outcome.problem == "" and store.failure(first.identity)
    again = run_job(second)
    assert (again.result, again.error, again.trace) == (None, outcome.error, outcome.trace)
    assert state(store.root) == before, "it was not tried again"
    later = dataclasses.replace(second, failed=store.failure(first.identity))
    assert run_job(later).error and state(store.root) != before, "whoever begins later does"


def test_a_cell_that_was_taken_over_is_not_stored(tmp_path):
    """By a process that was suspended while another one went on."""
    cell, data, store = tiny.cell(), tiny.dataset(), Store(tmp_path / "r", create=True)
    asked = []

    def still():
        asked.append(1)
        if len(asked) > 2:  # behind the last border
            raise Lost("taken over")

    with pytest.raises(Lost):
        run_cell(cell, store, data, still=still)
    assert len(asked) == 3 and store.finished_seeds(cell.identity(data)) == ()


def test_each_trial_is_trained_once_and_a_killed_process_loses_its_cell_to_another(tmp_path):
    place, results = tmp_path / "scratch", tmp_path / "r"
    place.mkdir()
    (place / "scratch.py").write_text(CONTROL.format(body=TRIAL))
    (tmp_path / "slow.py").write_text(STUDY)
    command = "-m", "experiments.sweep", f"--config={tmp_path}/slow.py", f"--workdir={results}", "--jobs=1"
    killed = Process(*command, SCRATCH=str(place), SLOW="1")
    killed.until((place / "saved").exists)
    others = [Process(*command, SCRATCH=str(place)) for _ in range(2)]

    def trials():
        return [line.split() for line in (place / "trials").read_text().splitlines()]

    for other in others:
        other.until(lambda: (place / "trials").exists() and len({pid for *_, pid in trials()}) == 2)
    killed.kill()
    (place / "killed").touch()
    ends = [other.end() for other in others]
    assert [status for status, _ in ends] == [0, 0], ends
    assert sum("not in this report" not in out for _, out in ends) >= 1, "the report of the last is whole"
    count = collections.Counter(tuple(trial) for *trial, _ in trials())
    assert len(count) == 10 and set(count.values()) == {1}
    assert (place / "restored").read_text() == "step-00000060 "
    store, ids = cells(results)
    assert all(store.finished_seeds(i) == (0, 1) for i in ids.values()) and len(ids) == 6
    history = store.table(ids["mean"], "history")
    assert [list(history.epoch[history.seed == s]) for s in (0, 1)] == [list(range(120))] * 2
    left = [p.name for p in results.rglob("*") if p.name.startswith((".tmp", ".partial", ".running"))]
    assert left == [] and [name[:3] for name in os.listdir(results / ".locks")] in ([], ["at-"]), "of the killed one"
