"""One writer at a time in a results folder."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from etils import epath


@contextlib.contextmanager
def exclusive(folder: epath.Path) -> Iterator[None]:
    """Holds the folder until the end of the block, or of the process, however it ends (kill -9 included).

    The operating system keeps the lock, on the file `.lock`, so that none is left behind. It holds between processes
    of one machine, and between machines where the file system carries locks; object storage has none.

    Raises:
        BlockingIOError: another process holds it; says which.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    if "://" in os.fspath(folder):
        yield
        return
    with open(os.fspath(folder / ".lock"), "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise BlockingIOError(
                error.errno, f"{holder} is writing results here; wait for it, or name another folder", os.fspath(folder)
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
