"""A study on a cluster of two machines, of which one is lost in the middle."""

import ctypes
import signal
import sys
import threading
import time
import types
import warnings

import numpy as np
import pytest

from fusion_jax import zoo
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.run.engines.base import Job
from fusion_jax.run.sweep import run
from fusion_jax.training import stopping
from tests import tiny

ray = pytest.importorskip("ray", reason="Ray is an extra of its own: pip install 'fusion_jax[ray]'")
utils = pytest.importorskip("ray.cluster_utils", reason="several machines on one are a part of Ray's own tests")
pytestmark = pytest.mark.xdist_group("ray")
LONG = dict(training__epochs=1500, training__patience=1500, training__chunk=20, training__checkpoint_seconds=0.0)


@pytest.fixture
def two(monkeypatch):
    """Two machines with a processor each; the first has nothing to do but lead."""
    monkeypatch.setenv("JAX_ENABLE_X64", "0")
    monkeypatch.setenv("JAX_NUMPY_DTYPE_PROMOTION", "standard")
    cluster = utils.Cluster(initialize_head=True, head_node_args=dict(num_cpus=0, include_dashboard=False))
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()


def trainings(store):
    """(cell, seeds) of every part that was stored."""
    cells = [entry["id"] for entry in store.read_study()["cells"]]
    return sorted((cell, *seeds) for cell in cells for _, seeds in store.parts(cell))


def test_a_machine_that_is_lost(two, tmp_path):
    cluster, nodes = two
    store, data, heard = Store(tmp_path / "r", create=True), tiny.dataset(), []
    cells = [tiny.cell(model__fusion__name=name, seeds=1, **LONG) for name in ("mean", "gmu", "concat_mlp")]

    def lose_one():
        while not list(store.root.glob("cells/*/.partial-*/step-*")):
            time.sleep(0.1)
        cluster.remove_node(nodes[0], allow_graceful=False)

    watch = threading.Thread(target=lose_one, daemon=True)
    watch.start()
    failed = run(cells, store, "test", progress=heard.append, engine="ray", engine_options=dict(poll=0.2))
    watch.join(60)
    assert failed == 0 and not watch.is_alive()
    assert trainings(store) == sorted((cell.identity(data), 0) for cell in cells), "each once"
    assert {one.identity for one in heard} == {cell.identity(data) for cell in cells}
    assert max(one.epoch for one in heard) == 1500, "how far they are is told where the study runs"
    here = Store(tmp_path / "here", create=True)
    for cell in cells:
        run_cell(cell, here, data)
        for name in ("metrics", "history"):
            own, other = (s.table(cell.identity(data), name).select_dtypes("number") for s in (store, here))
            np.testing.assert_array_equal(own, other)


def test_what_no_machine_has_is_said_at_once(two, tmp_path):
    data, store = tiny.dataset(), Store(tmp_path, create=True)
    cell = tiny.cell(resources__gpus=3)
    jobs = [Job(cell.identity(data), cell, store, data)]
    with pytest.raises(ValueError, match=r"asks for CPU 1, GPU 3, memory 0; no machine has that"):
        next(zoo.get("engine", "ray")(jobs))


def test_it_stops_behind_a_save(two, tmp_path):
    store = Store(tmp_path / "r", create=True)
    cell = tiny.cell(seeds=1, **{**LONG, "training__epochs": 100_000, "training__patience": 100_000})

    def told(progress):
        if progress.epoch >= 40:
            stopping.ask()

    try:
        with pytest.raises(stopping.Stopped):
            run([cell], store, "test", progress=told, engine="ray", engine_options=dict(poll=0.2))
    finally:
        stopping.forget()
    identity = cell.identity(tiny.dataset())
    assert list(store.root.glob(f"cells/{identity}/.partial-*/step-*")) and not store.finished_seeds(identity)


def test_what_it_forks_is_no_warning_to_the_user(monkeypatch, tmp_path):
    def init(**options):
        warnings.warn("os.fork() was called. os.fork() is incompatible with multithreaded code", RuntimeWarning, 2)
        warnings.warn("something else", RuntimeWarning, 2)
        raise ConnectionError("nobody\nthere")

    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(is_initialized=lambda: False, init=init))
    job = types.SimpleNamespace(store=types.SimpleNamespace(root=tmp_path))
    with pytest.warns(RuntimeWarning) as said, pytest.raises(ValueError, match=r"at 'auto' \(nobody there\)"):
        list(zoo.get("engine", "ray")([job], address="auto"))
    assert [str(one.message) for one in said] == ["something else"]


def test_a_signal_that_it_takes_for_itself_is_heard_again(monkeypatch, tmp_path):
    def init(**options):
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
        ctypes.CDLL(None).signal(signal.SIGTERM, None)  # behind Python's back, as it does both
        raise ConnectionError("nobody")

    def own(number, frame):
        pass

    before = signal.signal(signal.SIGTERM, own)
    try:
        monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(is_initialized=lambda: False, init=init))
        job = types.SimpleNamespace(store=types.SimpleNamespace(root=tmp_path))
        with pytest.raises(ValueError, match="no cluster"):
            list(zoo.get("engine", "ray")([job]))
        caught = next(line for line in open("/proc/self/status") if line.startswith("SigCgt")).split()[1]
        assert int(caught, 16) >> (signal.SIGTERM - 1) & 1 and signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
