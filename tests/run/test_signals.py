"""Ctrl-C and SIGTERM ask to stop, once each; everything is as before behind them."""

import pathlib
import signal
import subprocess
import sys
import threading

import pytest

import experiments
from fusion_jax.run import signals
from fusion_jax.run.engines.base import run_job
from fusion_jax.training import stopping

ROOT = pathlib.Path(__file__).parents[2]

# What is started by a test run in the background has Ctrl-C switched off, as that has.
ATTENTIVE = """import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
os.execv(sys.executable, [sys.executable, "-m", "experiments.sweep", *sys.argv[1:]])
"""


@pytest.fixture(autouse=True)
def attentive():
    """What is started in the background has Ctrl-C switched off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_signal_asks_and_is_told():
    said, handlers = [], [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with signals.obeyed(said.append) as received:
        assert received.number is None and not stopping.is_asked()
        signal.raise_signal(signal.SIGTERM)
        assert stopping.is_asked() and received.status == signals.TERMINATED == 75
        with pytest.raises(stopping.Stopped):
            run_job(None)  # nothing is begun any more
        signal.raise_signal(signal.SIGTERM)
    assert len(said) == 1 and said[0].startswith("SIGTERM: what trains is saved") and "again" not in said[0]
    assert not stopping.is_asked() and [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_an_end_before_anything_trains_may_be_an_orderly_one(capfd):
    """As that of a process that others train along with; what somebody else hears stays theirs."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        experiments.attend()
        experiments.attend(sys.exit)
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGTERM)
        assert ended.value.code == 75 and capfd.readouterr().err == "SIGTERM: nothing trains, this stops\n"
        for theirs in (signal.SIG_IGN, print):
            signal.signal(signal.SIGTERM, theirs)
            experiments.attend()
            assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_second_ctrl_c_is_one():
    said = []
    with pytest.raises(KeyboardInterrupt), signals.obeyed(said.append) as received:
        signal.raise_signal(signal.SIGINT)
        assert stopping.is_asked() and received.status == 130 and "Ctrl-C again ends it at once" in said[0]
        signal.raise_signal(signal.SIGINT)
    assert len(said) == 1 and not stopping.is_asked()


def test_what_is_ignored_stays_so_and_other_threads_are_left_alone():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals.obeyed(print):
        signal.raise_signal(signal.SIGINT)
        assert not stopping.is_asked()

    found = []

    def elsewhere():
        with signals.obeyed(print):
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [before]


@pytest.mark.parametrize("number, status, name", [(signal.SIGTERM, 75, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")])
def test_before_anything_trains_a_signal_is_one_line(tmp_path, number, status, name):
    """Imports, the study's file and the data take seconds."""
    (tmp_path / "study.py").write_text(f"import os\nos.kill(os.getpid(), {int(number)})\n")
    line = [sys.executable, "-c", ATTENTIVE, f"--config={tmp_path}/study.py", f"--workdir={tmp_path}/r"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"{name}: nothing trains, this stops\n")
    assert not (tmp_path / "r").exists()
