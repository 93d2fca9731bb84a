"""What a command does when it is told to end: Ctrl-C, or SIGTERM as a cluster sends it before it takes the machine.

The first asks all that trains to save and stop at its next border (`training.stopping`), a second Ctrl-C ends it at
once: then what was computed since the last save is computed again.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from fusion_jax.training import stopping

TERMINATED = 75  # exit status behind SIGTERM, EX_TEMPFAIL: the same command goes on where it was
INTERRUPTED = 130  # behind Ctrl-C, as of every program


class Received:
    """The signal that has come, None before."""

    def __init__(self):
        self.number: int | None = None

    @property
    def status(self) -> int:
        return TERMINATED if self.number == signal.SIGTERM else INTERRUPTED


@contextlib.contextmanager
def obeyed(say: Callable[[str], None]) -> Iterator[Received]:
    """Within it both signals ask to stop; KeyboardInterrupt is raised by the second Ctrl-C alone.

    In another thread than the main one, where no signals arrive, nothing is changed. A signal that is ignored (nohup,
    what a shell runs in the background) stays so.

    Args:
        say: called with what is to be said of it.
    """
    received = Received()

    def heard(number: int, frame: object) -> None:
        del frame
        if received.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if received.number is None:
            received.number = number
            stopping.ask()
            name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
            again = "; Ctrl-C again ends it at once" if number == signal.SIGINT else ""
            say(f"{name}: what trains is saved at the end of its chunk of epochs, then this stops{again}")

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, heard)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stopping.forget()
