"""Ctrl-C and SIGTERM ask to stop, once each; everything is as before behind them."""

import signal
import threading

import pytest

from fusion_jax.run import signals
from fusion_jax.run.engines.base import run_job
from fusion_jax.training import stopping


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
