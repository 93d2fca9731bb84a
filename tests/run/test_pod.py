"""Several JAX processes as one machine: the seeds lie on the devices of all, and come out as on one."""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pandas as pd
import pytest

from fusion_jax.results.store import Store
from fusion_jax.run import pod
from fusion_jax.training import checkpoint
from tests import tiny

pytestmark = pytest.mark.xdist_group("pod")
ROOT = pathlib.Path(__file__).parents[2]

DATA = """
import os
from fusion_jax.data import load as known
from tests import tiny

def load():
    return known("synthetic", **tiny.DATA, seed=int(os.environ.get("PART", 0)))
"""

STUDY = """
import pathlib
from tests import tiny

OWN = str(pathlib.Path(__file__).parent / "own_data.py")

def get_config(arg=""):
    epochs = 400 if arg == "slow" else 12
    config = tiny.config(training__epochs=epochs, training__patience=epochs, training__chunk=5, seeds=3)
    config.training.checkpoint_seconds = 0.0
    config.training.snapshots = 2
    return config

def sweep(add, arg=""):
    if arg != "slow":
        add({"data.name": OWN, "data.options": {}}, label="own")
    add({}, label="planted")
"""


def start(folder, *args, command="sweep", processes=1, devices=2, env=()):
    """So many processes of one command, each of so many devices."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    plain = dict(JAX_ENABLE_X64="0", JAX_NUMPY_DTYPE_PROMOTION="standard", JAX_PLATFORMS="cpu", XLA_FLAGS=flags)
    started = []
    for index in range(processes):
        together = [f"--coordinator=localhost:{port}", f"--processes={processes}", f"--process={index}"]
        own = dict(env[index] if index < len(env) else {}, PYTHONPATH=str(ROOT))
        line = [sys.executable, "-m", f"experiments.{command}", *args, f"--workdir={folder}", "--display=plain"]
        line += together if processes > 1 else []
        out = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(subprocess.Popen(line, env={**os.environ, **plain, **own}, cwd=ROOT, **out))
    return started


def ended(started):
    """(exit status, output) of each."""
    return [(process.wait(), text) for process in started for text in [process.communicate(timeout=300)[0]]]


@pytest.fixture
def study(tmp_path):
    (tmp_path / "own_data.py").write_text(DATA)
    (tmp_path / "study.py").write_text(STUDY)
    return tmp_path / "study.py"


def compared(folder, other, label, tol):
    """Whether two folders hold the same numbers of a cell: tables, parameters, snapshots."""
    one, two = (Store(place) for place in (folder, other))
    found = [e for store in (one, two) for e in store.read_study()["cells"] if label in ("", e["label"])]
    (name,) = {e["id"] for e in found}
    assert one.finished_seeds(name) == two.finished_seeds(name) == (0, 1, 2)
    for kind in ("metrics", "predictions", "history"):
        a, b = (store.table(name, kind) for store in (one, two))
        pd.testing.assert_frame_equal(a, b, check_exact=False, rtol=tol, atol=tol)
    leaves = []
    for store in (one, two):
        ((part, _),) = store.parts(name)
        leaves.append([checkpoint.restore(part / kind) for kind in ("checkpoint", "snapshots")])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tol, atol=tol), *leaves)


def test_two_processes_train_a_cell_as_one_does_and_fail_together(study, tmp_path):
    own, alone = tmp_path / "own", tmp_path / "alone"
    here = start(own, f"--config={study}", processes=2, env=[{}, dict(PART="1")])
    (only,) = start(alone, f"--config={study}", devices=1)
    (status, said), (other, along) = ended(here)
    assert (status, other) == (1, 1), said + along
    assert "process 1 of 2 cannot train along: ValueError: data set" in said
    assert "another one here" in said
    assert along.count("trains along") == 1
    assert only.wait() == 0, only.stdout.read()
    compared(own, alone, "planted", 1e-5)
    assert not Store(own).finished_seeds(next(e["id"] for e in Store(own).read_study()["cells"] if e["label"] == "own"))


def test_a_signal_to_any_process_stops_all_and_one_goes_on(study, tmp_path):
    own, alone = tmp_path / "own", tmp_path / "alone"
    slow = dict(command="train")  # the config of the study is a cell
    here = start(own, f"--config={study}:slow", **slow, processes=2)
    deadline = time.monotonic() + 240
    while not list(own.glob("cells/*/.partial-*/step-*")):
        assert time.monotonic() < deadline and all(p.poll() is None for p in here), ended(here)
        time.sleep(0.05)
    here[1].send_signal(signal.SIGTERM)
    results = ended(here)
    assert [status for status, _ in results] == [75, 75], results
    assert list(own.glob("cells/*/.partial-*/step-*"))
    (again,) = start(own, f"--config={study}:slow", **slow, devices=1)
    (only,) = start(alone, f"--config={study}:slow", **slow, devices=1)
    results = ended([again, only])
    assert [status for status, _ in results] == [0, 0], results
    compared(own, alone, "", 1e-4)


@pytest.mark.parametrize(
    "key, said",
    [
        ("versions.jax", "versions.jax: '.*' here, 'other'"),
        ("revision", "revision: '.*' here, 'other'"),
        ("", ""),
    ],
)
def test_what_computes_other_numbers_does_not_train_along(key, said):
    data, trained = tiny.dataset(), []
    plan = tiny.cell().plan
    message = dict(plans=[dataclasses.asdict(plan)], seeds=[0, 2], data=data.fingerprint, told=["loss.l2"])
    message |= dict(made_with=pod._made_with() | ({key: "other"} if key else {}))
    message = json.loads(json.dumps(message))
    with pytest.raises(ValueError, match=said) if key else contextlib.nullcontext():
        pod._train(message, {}, lambda *given: trained.append(given))
    if not key:
        ((plans, found, prepared, told),) = trained
        assert plans == [plan] and found.fingerprint == data.fingerprint
        assert prepared.seeds == (0, 2) and told == ["loss.l2"]


def test_devices_are_shared_out_among_processes(monkeypatch):
    devices = [types.SimpleNamespace(process_index=p, id=100 * p + i) for p in range(3) for i in range(2 + (p == 2))]
    monkeypatch.setattr(jax, "devices", lambda: devices)

    def ids(seeds):
        return [d.id for d in pod.seated(seeds)]

    assert ids(3) == [0, 100, 200]
    assert ids(4) == [0, 1, 100, 200]
    assert ids(7) == ids(9) == [0, 1, 100, 101, 200, 201, 202]


def test_a_pod_that_is_not_there_is_one_line(tmp_path):
    status, said = tiny.command("experiments.sweep", "--config=configs/base.py", f"--workdir={tmp_path}", "--pod")
    assert status == 2
    assert "no pod of processes can be joined" in said and "--coordinator=HOST:PORT" in said and said.count("\n") == 2


def alone(folder, *args):
    """Exit status and output of the second process of a pod of which nobody else is there."""
    line = [sys.executable, "-m", "experiments.sweep", "--config=configs/base.py", f"--workdir={folder}"]
    plain = dict(JAX_PLATFORMS="cpu", PYTHONPATH=str(ROOT))
    out = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    line += ["--processes=2", "--process=1", *args]
    started = subprocess.Popen(line, env={**os.environ, **plain}, cwd=ROOT, **out)
    return ended([started])[0]


def test_who_waits_for_a_pod_says_so_and_ends_with_a_line(tmp_path):
    status, said = alone(tmp_path, "--coordinator=localhost:9", "--join_seconds=2")
    first, last = said.splitlines()
    assert status == 2
    assert first == "waits for process 0 at localhost:9 and all others, 2 s at most (--join_seconds)"
    assert last.startswith("error: process 0 at localhost:9 and all others did not come within 2 s; expected")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--coordinator=localhost"], "error: --coordinator=localhost: expected HOST:PORT, such as localhost:1234"),
        (["--coordinator=localhost:9", "--engine=ray"], "error: --engine=ray sends every cell to a process of its own"),
    ],
)
def test_a_pod_that_cannot_be_is_refused_before_it_is_waited_for(tmp_path, flags, told):
    status, said = tiny.command(
        "experiments.sweep", "--config=configs/base.py", f"--workdir={tmp_path}", "--processes=2", "--process=0", *flags
    )
    assert status == 2 and said.splitlines()[-1].startswith(told)
