"""A process by a name that a file keeps and people read: "process 12 on host"."""

from __future__ import annotations

import os
import socket

_KIND = "process "


def this() -> str:
    """The name of this process."""
    return named(os.getpid())


def named(number: int) -> str:
    """The name of the process of that number, of this machine."""
    return f"{_KIND}{number} on {socket.gethostname()}"


def number(name: str) -> int | None:
    """The number of a process of this machine; None of any other text."""
    count, _, host = name.removeprefix(_KIND).partition(" on ")
    ours = name.startswith(_KIND) and host == socket.gethostname() and count.isdecimal()
    return int(count) if ours else None


def lives(name: str) -> bool:
    """Whether that is a process of this machine which has not ended."""
    if (held := number(name)) is None:
        return False
    try:
        os.kill(held, 0)  # no signal, a question
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's
    return True
