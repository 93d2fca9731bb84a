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
import threading
import time
import types

import jax
import numpy as np
import pandas as pd
import pytest
from etils import epath

from fusion_jax import zoo
from fusion_jax.results.store import Store
from fusion_jax.run import pod, signals
from fusion_jax.training import checkpoint, stopping
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
        ("versions.another", "versions.another: None here, 'other'"),
        ("flags.XLA_FLAGS", "flags.XLA_FLAGS: '.*' here, 'other'"),
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
    assert {"revision", "versions.jax", "flags.XLA_FLAGS"} <= pod._made_with().keys()
    if not key:
        ((plans, found, prepared, told),) = trained
        assert plans == [plan] and found.fingerprint == data.fingerprint
        assert prepared.seeds == (0, 2) and told == ["loss.l2"]


def test_the_data_of_every_training_are_those_of_process_0():
    """Read once for all that follow each other; where they are others, nothing trains."""
    sets, held, trained = [tiny.dataset(), tiny.dataset(seed=1)], {}, []
    for data, seed in ((sets[0], 0), (sets[0], 0), (sets[1], 1), (sets[0], 0)):
        plan = tiny.cell(data__options={**tiny.DATA, "seed": seed}).plan
        message = dict(plans=[dataclasses.asdict(plan)], seeds=[0], data=data.fingerprint, told=[], made_with={})
        pod._train(message, held, lambda plans, found, *more: trained.append(found))
        assert trained[-1].fingerprint == data.fingerprint and list(held) == [data.fingerprint]
    assert trained[0] is trained[1]
    with pytest.raises(ValueError, match="data set 'synthetic' is another one here"):
        pod._train({**message, "data": sets[1].fingerprint}, held, pytest.fail)


def test_devices_are_shared_out_among_processes(monkeypatch):
    devices = [types.SimpleNamespace(process_index=p, id=100 * p + i) for p in range(3) for i in range(2 + (p == 2))]
    monkeypatch.setattr(jax, "devices", lambda: devices)

    def ids(seeds):
        return [d.id for d in pod.seated(seeds)]

    assert ids(3) == [0, 100, 200]
    assert ids(4) == [0, 1, 100, 200]
    assert ids(7) == ids(9) == [0, 1, 100, 101, 200, 201, 202]


def test_a_pod_that_is_not_there_is_one_line(tmp_path):
    jax.config.update("jax_enable_preemption_service", True)
    status, said = tiny.command("experiments.sweep", "--config=configs/base.py", f"--workdir={tmp_path}", "--pod")
    assert status == 2
    assert "no pod of processes can be joined" in said and "--coordinator=HOST:PORT" in said and said.count("\n") == 2
    assert not jax.config.jax_enable_preemption_service, "else JAX takes SIGTERM for itself"


@pytest.mark.parametrize(
    "address", ["localhost", "localhost:", ":1234", "localhost:x", "localhost:0", "localhost:65536"]
)
def test_an_address_without_host_or_port_is_named(address):
    with pytest.raises(ValueError, match=f"--coordinator={address}; expected HOST:PORT"):
        pod.join(address, 2, 0)


@pytest.mark.parametrize("index", [0, 1])
def test_whoever_is_not_joined_in_time_says_so(index):
    """Where the others are never started, or listen elsewhere."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    line = [sys.executable, "-m", "experiments.train", f"--coordinator={address}", "--processes=2"]
    line += [f"--process={index}", "--join_seconds=1"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    first, last = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    whom = f" at {address} for 1 other process" if index == 0 else f" for process 0 at {address} and all others"
    assert first == f"waits{whom}, 1 s at most (--join_seconds)"
    assert last.startswith("error: no pod of processes can be joined: not all have come to localhost")
    assert "within 1 s; expected one process for each --process" in last


def test_cells_that_are_sent_elsewhere_make_no_pod(tmp_path):
    flags = ["--coordinator=localhost:9", "--processes=2", "--process=0", "--engine=ray"]
    status, said = tiny.command("experiments.sweep", "--config=configs/base.py", f"--workdir={tmp_path}", *flags)
    assert status == 2 and said.startswith("error: --engine=ray sends every cell to a process of its own")


class Keys:
    """The store of keys that JAX's processes share, in one process."""

    def __init__(self):
        self.held, self.changed = {}, threading.Condition()

    def key_value_set(self, key, value, allow_overwrite=False):
        with self.changed:
            if key in self.held and not allow_overwrite:
                raise jax.errors.JaxRuntimeError(f"ALREADY_EXISTS: {key}")
            self.held[key] = value
            self.changed.notify_all()

    def blocking_key_value_get(self, key, milliseconds):
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.held, min(milliseconds, 50) / 1000):
                raise jax.errors.JaxRuntimeError(f"DEADLINE_EXCEEDED: {key}")
            return self.held[key]

    def key_value_dir_get(self, prefix):
        with self.changed:
            return [found for found in self.held.items() if found[0].startswith(prefix)]


@pytest.fixture
def keys(monkeypatch):
    """In the place of JAX's own; every thread is a process, whose pod is its attribute."""
    found, own = Keys(), threading.local()
    monkeypatch.setattr(pod, "_client", lambda: found)
    monkeypatch.setattr(pod, "joined", lambda: getattr(own, "pod", None))
    monkeypatch.setattr(pod, "seated", "devices of {} seeds".format)
    found.own = own
    yield found
    stopping.forget()


def both(keys, lead, train, count=2):
    """What process 0 and process 1 return: `lead` in a thread, with the command around it, and `follow`."""
    said = []

    def command():
        keys.own.pod = pod.Pod(0, count)
        try:
            with pod.leading(keys.own.pod):
                said.append(lead(keys.own.pod))
        except BaseException as error:  # what process 0 ended with, for the test to look at
            said.append(error)

    thread = threading.Thread(target=command, daemon=True)
    thread.start()
    keys.own.pod = pod.Pod(1, count)
    status = pod.follow(keys.own.pod, train)
    thread.join(20)
    return said[0], status


PLAN = tiny.cell().plan


def training(seeds=(0, 1, 2), plan=PLAN, partial=None, **hooks):
    """The hooks of a training, of whichever process asks."""
    return pod.together([plan], tiny.dataset(), seeds, ["loss.l2"], partial, dict(at_border=lambda *a: None) | hooks)


def test_what_process_0_decides_holds_in_the_others(keys, tmp_path):
    """The save, the epochs of every chunk, and that all have compiled."""
    place, state = epath.Path(tmp_path) / "partial", dict(a=np.arange(2, dtype=np.float32))
    partial = checkpoint.Partial(place, 0.0)
    partial.at_border(state, [{"train_loss": np.zeros((1, 4))}])
    heard, borders = [], []

    def goes_on(own, at, chunks):
        """As `loop.train`."""
        found = own["restore"](dict(a=np.zeros(2, np.float32)))
        assert own["agreed"](0) == 0
        heard.append((at, None if found is None else found[0]["a"].tolist(), found and len(found[1])))
        for count in chunks:
            heard.append((at, own["agreed"](count)))
            own["at_border"]("state", "history")

    def lead(own):
        for saves in (partial, checkpoint.Partial(epath.Path(tmp_path) / "none", 0.0)):
            hooks = dict(restore=saves.restore, at_border=lambda *given: borders.append(given))
            with training(partial=saves, **hooks) as hooks:
                assert hooks["devices"] == "devices of 3 seeds"
                goes_on(hooks, 0, (5, 2))
        return own.training

    def train(plans, data, prepared, told):
        assert plans == [PLAN] and prepared.seeds == (0, 1, 2) and told == ["loss.l2"]
        with training() as hooks:
            assert hooks["devices"] == "devices of 3 seeds"
            goes_on(hooks, 1, (7, 9))

    last, status = both(keys, lead, train)
    assert status == 0 and last == keys.own.pod.training > 0
    own = [(at, *what) for at in (0, 1) for what in ([[0.0, 1.0], 1], [5], [2], [None, None], [5], [2])]
    assert [h for h in heard if not h[0]] + [h for h in heard if h[0]] == own
    assert borders == [("state", "history")] * 4


@pytest.mark.parametrize("count, error", [(2, KeyError("no")), (3, SystemExit("no"))])
def test_training_begins_when_every_other_process_has_compiled(keys, count, error):
    """What one cannot do fails the cell in process 0, which names it; the next one is trained."""
    reached = []

    def lead(own):
        with pytest.raises(ValueError, match=f"process {count - 1} of {count} cannot train along: .*: '?no"):
            with training() as hooks:
                hooks["restore"](None)
                hooks["agreed"](0)
                reached.append("behind")
        return "next"

    def other(index):
        keys.own.pod = pod.Pod(index, count)
        keys.own.pod.hear()
        keys.own.pod.answer()

    for index in range(1, count - 1):
        threading.Thread(target=other, args=(index,), daemon=True).start()
    keys.own.pod = pod.Pod(count - 1, count)

    def train(*given):
        raise error

    def command():
        keys.own.pod = pod.Pod(0, count)
        with pod.leading(keys.own.pod):
            reached.append(lead(keys.own.pod))

    thread = threading.Thread(target=command, daemon=True)
    thread.start()
    assert pod.follow(keys.own.pod, train) == 0
    thread.join(20)
    assert reached == ["next"]


def test_a_process_that_has_trained_along_may_fail_before_the_next_training(keys):
    """Before it has compiled that is told, and ends nothing."""
    trained = []

    def goes_on():
        with training() as hooks:
            hooks["restore"](None)
            hooks["agreed"](0)

    def lead(own):
        goes_on()
        with pytest.raises(ValueError, match="process 1 of 2 cannot train along: OSError: lost"):
            goes_on()
        return "done"

    def train(*given):
        if trained:
            raise OSError("lost")
        trained.append(1)
        goes_on()

    assert both(keys, lead, train) == ("done", 0)


def test_a_process_that_has_not_answered_yet_is_waited_for(keys):
    own, done = pod.Pod(0, 3, training=4), []
    thread = threading.Thread(target=lambda: done.append(own.check_answers()), daemon=True)
    thread.start()
    pod.Pod(1, 3, training=4).answer()
    pod.Pod(2, 3, training=3).answer("of the training before")
    thread.join(0.3)
    assert not done
    pod.Pod(2, 3, training=4).answer()
    thread.join(20)
    assert done == [None]


@pytest.mark.parametrize(
    "error, ends", [("RESOURCE_EXHAUSTED: out of memory", False), ("INTERNAL: lost", True)], ids=["memory", "other"]
)
def test_what_goes_wrong_behind_the_compiler_ends_the_process_unless_memory_does_not_suffice(keys, error, ends):
    def lead(own):
        with training() as hooks:
            hooks["restore"](None)
            hooks["agreed"](0)
        return "done"

    def train(*given):
        with training() as hooks:
            hooks["restore"](None)
            hooks["agreed"](0)
            raise RuntimeError(error)

    with pytest.raises(RuntimeError, match=error) if ends else contextlib.nullcontext():
        assert both(keys, lead, train) == ("done", 0)


@pytest.mark.parametrize(
    "error, status", [(SystemExit(3), 3), (SystemExit("no"), 1), (SystemExit(), 0), (OSError(), 1)]
)
def test_the_others_end_with_the_status_of_process_0(keys, error, status):
    """And a training that it leaves does not end them: they listen for the next."""

    def lead(own):
        with pytest.raises(stopping.Stopped), training(at_border=lambda *a: stopping.check()) as hooks:
            hooks["restore"](None)
            hooks["agreed"](0)
            hooks["agreed"](5)
            stopping.ask()
            hooks["at_border"](None, [])
        with pytest.raises(OSError), training():
            raise OSError("full")
        raise error

    reached = []

    def train(*given):
        with training() as hooks:
            hooks["restore"](None)
            hooks["agreed"](0)
            hooks["agreed"](5)
            reached.append("a chunk")
            hooks["at_border"](None, [])
            reached.append("its end")

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert both(keys, lead, train) == (error, status)
    assert reached == ["a chunk"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_is_told_to_process_0_and_a_second_ctrl_c_ends_the_process(keys):
    """It is obeyed at the next border, as if it had come to process 0."""
    seen = []

    def train(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert pod.Pod(0, 2).asked() == signal.SIGTERM
        seen.append("both are told")
        os.kill(os.getpid(), signal.SIGINT)

    def lead(own):
        assert own.asked() is None
        with training():
            own.check_answers()

    own = keys.own.pod = pod.Pod(1, 2)
    pod.Pod(0, 2).say(
        plans=[dataclasses.asdict(PLAN)], seeds=[0], data=tiny.dataset().fingerprint, told=[], made_with={}
    )
    pod.Pod(0, 2, place=1).say(end=7)
    with pytest.raises(KeyboardInterrupt):
        pod.follow(own, train)

    assert seen.pop() == "both are told"
    leader = keys.own.pod = pod.Pod(0, 2, place=2)
    with signals.obeyed(seen.append) as received, pytest.raises(stopping.Stopped):
        with training(at_border=lambda *given: (seen.append(given), stopping.check())) as hooks:
            hooks["at_border"]("state", "history")
    assert received.number == signal.SIGTERM and seen[1:] == [("state", "history")] and leader.place == 4
    said = [json.loads(keys.held[f"{pod.SPACE}/said/{place}"]) for place in (2, 3)]
    assert "plans" in said[0] and said[1] == {"left": True}


def test_the_first_ctrl_c_is_told_as_well(keys):
    def train(*given):
        with training() as hooks:
            hooks["restore"](None)
            os.kill(os.getpid(), signal.SIGINT)
            hooks["agreed"](0)

    def lead(own):
        with training() as hooks:
            hooks["restore"](None)
            hooks["agreed"](0)
        return own.asked()

    assert both(keys, lead, train) == (signal.SIGINT, 0)


@pytest.mark.parametrize("seeds", [(0, 1), (0,)], ids=["together", "alone"])
def test_process_0_stops_at_the_border_where_it_finds_a_signal(keys, seeds):
    """Not at a later one: the signal itself reaches the main thread, which may be slow to take it."""
    before = signal.signal(signal.SIGTERM, lambda *given: None)
    keys.own.pod = pod.Pod(0, 2)
    pod.Pod(1, 2).ask(signal.SIGTERM)
    try:
        with pytest.raises(stopping.Stopped), training(seeds, at_border=lambda *given: stopping.check()) as hooks:
            hooks["at_border"]("state", "history")
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_few_seeds_and_data_in_memory_are_trained_by_process_0_alone(keys):
    keys.own.pod = pod.Pod(0, 3)
    memory = dataclasses.replace(PLAN, data=dataclasses.replace(PLAN.data, name=f"{zoo.MEMORY}:1"))
    for given in (dict(seeds=(0, 1)), dict(plan=memory)):
        with training(**given) as hooks:
            assert set(hooks) == {"at_border"}
    assert keys.held == {}
    with pod.together([PLAN] * 3, tiny.dataset(), (0,), [], None, dict(at_border=None)) as hooks:
        assert hooks["devices"] == "devices of 3 seeds", "of several plans all count"
    del keys.own.pod
    with training() as hooks:
        assert set(hooks) == {"at_border"}


def test_one_training_at_a_time_is_told_whatever_the_threads(keys):
    own, inside = pod.Pod(0, 2), []

    def train():
        keys.own.pod = own
        with training():
            inside.append(1)
            assert len(inside) == 1
            time.sleep(0.05)
            inside.clear()
        done.append(1)

    done, threads = [], [threading.Thread(target=train, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert done == [1, 1]


def test_a_coordinator_that_is_gone_is_no_silence(keys, monkeypatch):
    def gone(key, milliseconds):
        raise jax.errors.JaxRuntimeError("UNAVAILABLE: connection reset")

    monkeypatch.setattr(keys, "blocking_key_value_get", gone)
    with pytest.raises(jax.errors.JaxRuntimeError, match="UNAVAILABLE"):
        pod.Pod(1, 2).hear()
