"""Whether the process is to stop: asked by anyone, obeyed at the next border of a chunk, behind a save."""

from __future__ import annotations

import threading


class Stopped(Exception):
    """Training has stopped because it was asked to; what was saved goes on from there. No failure of a cell."""


_ASKED = threading.Event()


def ask() -> None:
    """Asks every training of this process to stop at its next border."""
    _ASKED.set()


def forget() -> None:
    """Takes that back, before something else is trained."""
    _ASKED.clear()


def is_asked() -> bool:
    return _ASKED.is_set()


def check() -> None:
    """Raises Stopped where that was asked."""
    if _ASKED.is_set():
        raise Stopped("stopped")
