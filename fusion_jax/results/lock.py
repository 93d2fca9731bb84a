"""One writer at a time in a results folder."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import warnings
from collections.abc import Iterator

from etils import epath

from fusion_jax.folders import read_small


@contextlib.contextmanager
def exclusive(folder: epath.Path) -> Iterator[None]:
    """Holds the folder until the end of the block, or of the process, however it ends (kill -9 included).

    The operating system keeps the lock, on the file `.lock`, so that none is left behind. It holds between processes
    of one machine, and between machines where the file system carries locks; object storage has none. On a file
    system that has none a warning says so, and the block runs without.

    Raises:
        BlockingIOError: another process holds it; says which.
        OSError: `.lock` cannot be written, or is something else (a link, say), which is left as it is.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    if "://" in os.fspath(folder):
        yield
        return
    path = os.fspath(folder / ".lock")
    with open(_open(path), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = file.read(_LONGEST).decode(errors="replace").strip() or "another process"
            raise BlockingIOError(
                error.errno, f"{holder} is writing results here; wait for it, or name another folder", os.fspath(folder)
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise OSError(error.errno, f"cannot be locked: {error.strerror}", path) from error
            warnings.warn(
                f"{os.fspath(folder)} lies on a file system without locks ({error.strerror}): "
                "see to it that nothing else writes results there",
                stacklevel=3,
            )
            yield
            return
        file.truncate(0)
        file.write(f"{_HOLDER}{os.getpid()} on {socket.gethostname()}".encode())
        file.flush()
        yield


def holder(folder: epath.Path) -> str | None:
    """The process of this machine that writes to the folder now, "process 12 on host"; None where there is none.

    It is told by what it left in `.lock`: to try the lock would keep out a writer that begins at that moment.
    """
    if "://" in os.fspath(folder):
        return None
    with contextlib.suppress(OSError, ValueError, OverflowError):
        text = read_small(folder / ".lock", _LONGEST).decode()
        number, _, host = text.removeprefix(_HOLDER).partition(" on ")
        if text.startswith(_HOLDER) and host == socket.gethostname() and _lives(int(number)):
            return text
    return None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)  # no signal, a question
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True


_HOLDER = "process "
_LONGEST = 1000  # bytes that are read of a lock file
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def _open(path: str) -> int:
    """The lock file, made where there is none; a link is not followed, and another file is not written to."""
    try:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(error.errno, "is a symbolic link, and a lock is a file: remove it", path) from error
    plain = stat.S_ISREG(os.fstat(opened).st_mode)
    content = os.pread(opened, len(_HOLDER), 0) if plain else b""
    if not plain or content not in (b"", _HOLDER.encode()):
        os.close(opened)
        raise OSError(errno.EEXIST, "is no lock that was made here: move it away", path)
    return opened
