"""A study that is interrupted or killed goes on where it was, and ends as one that was not."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from tests import tiny
from tests.studies import CONTROL, cells, state

pytestmark = pytest.mark.xdist_group("interrupted")
ROOT = pathlib.Path(__file__).parents[2]

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
        os.kill(os.getpid(), signal.Signals[os.environ["KILL"]])

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
        self.read = ""
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

    def says(self, text):
        """Reads on until a line with that text."""
        for line in self.process.stdout:
            self.read += line
            if text in line:
                return
        raise AssertionError(f"{text!r} is not in {self.read}")

    def end(self):
        out, _ = self.process.communicate()
        return self.process.returncode, self.read + out


def test_ctrl_c_and_kill_lose_no_finished_cell_and_change_no_number(tmp_path):
    results = tmp_path / "results"
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "scratch.py").write_text(CONTROL.format(body=WAIT))
    (tmp_path / "slow.py").write_text(SLOW)

    interrupted = Running(tmp_path, WAIT=str(tmp_path / "waiting"))
    interrupted.until((tmp_path / "waiting").exists)
    interrupted.process.send_signal(signal.SIGINT)
    interrupted.says("Ctrl-C: what trains is saved at the end of its chunk of epochs, then this stops; Ctrl-C again")
    interrupted.process.send_signal(signal.SIGINT)
    status, out = interrupted.end()
    assert status == 130 and "interrupted; 1 of 3 cells are finished and stay" in out and "Traceback" not in out
    store, ids = cells(results)
    assert [bool(store.finished_seeds(i)) for i in ids.values()] == [True, False, False]
    first = {p: v for p, v in state(results).items() if ids["logistic_regression"] in str(p)}

    def saves():
        return {p.name for p in (results / "cells" / ids["mean"]).glob(".partial-*/step-*")}

    status, out = Running(tmp_path, KILL="SIGKILL").end()
    assert status == -signal.SIGKILL and "3 cells, 1 finished before" in out
    assert store.finished_seeds(ids["mean"]) == () and "step-00000060" in saves()

    for name, expected in (("SIGTERM", 75), ("SIGINT", 130)):
        for path in results.glob("cells/*/.partial-*"):
            shutil.rmtree(path)
        status, out = Running(tmp_path, KILL=name).end()
        assert status == expected and "interrupted; 2 of 3 cells are finished and stay" in out, out
        assert "Traceback" not in out and "failed" not in out
        assert store.finished_seeds(ids["mean"]) == () and max(saves()) >= "step-00000060", "behind a save"

    status, out = Running(tmp_path).end()
    assert status == 0 and "3 cells, 2 finished before" in out and "1 cells trained, 0 failed" in out
    assert all(state(results)[p] == v for p, v in first.items())
    leftovers = [p for p in results.rglob("*") if p.name.startswith((".tmp", ".partial", ".probe"))]
    assert leftovers == []

    whole = Store(tmp_path / "whole", create=True)
    changes = dict(training__epochs=600, training__patience=600, training__chunk=20)
    again = run_cell(tiny.cell(**changes), whole, tiny.dataset())
    assert again["identity"] == ids["mean"]
    for name in ("history", "metrics", "predictions"):
        a, b = whole.table(ids["mean"], name), store.table(ids["mean"], name)
        assert list(a) == list(b)
        for column in a:
            x, y = (np.stack(t[column]) if column == "prediction" else t[column].to_numpy() for t in (a, b))
            np.testing.assert_array_equal(x, y)
    record = json.loads((results / "cells" / ids["mean"] / "record.json").read_text())
    assert record["seeds"] == [0, 1]
