"""A file that says who holds something, where the file system has no locks.

It is made with O_CREAT | O_EXCL, in which one process alone succeeds, and its holder renews its time every `BEAT`
seconds. It is stale, and whoever wants it takes it over, when its process was of this machine and has ended, or when it
was not renewed for `STALE` seconds: times as the file system tells them, since the clocks of machines differ. Who was
suspended for so long may have lost it: `Lease.check` says so.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import uuid
from collections.abc import Iterator

from fusion_jax import folders
from fusion_jax.results import process

BEAT, STALE = 30.0, 300.0  # seconds
_LONGEST = 1000  # bytes that are read of one
_OURS: set[str] = set()  # texts of those that this process holds


class Held(BlockingIOError):
    """Another holder has it; `strerror` says who, or what to do."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}" if self.filename else super().__str__()


class Lost(Exception):
    """A lease was taken over by another process, which does the work now."""


class Lease:
    """One that is held."""

    def __init__(self, path: str, text: str):
        self.path, self.text, self.ended = path, text, threading.Event()

    def check(self) -> None:
        """Raises Lost where it is held no more."""
        if _read(self.path) != self.text:
            raise Lost(f"{self.path} was taken over by another process")

    def renew(self) -> None:
        """Until it has ended."""
        while not self.ended.wait(BEAT):
            with contextlib.suppress(OSError, Lost):
                self.check()
                os.utime(self.path)


@contextlib.contextmanager
def leased(path: str) -> Iterator[Lease]:
    """Holds the file until the end of the block.

    Raises:
        Held: another holder has it.
        OSError: it cannot be made.
    """
    lease = Lease(path, f"{process.this()}\n{uuid.uuid4().hex}\n")
    _OURS.add(lease.text)
    try:
        _make(lease)
        threading.Thread(target=lease.renew, daemon=True, name="lease").start()
        try:
            yield lease
        finally:
            lease.ended.set()
            with contextlib.suppress(OSError, Lost):
                lease.check()
                os.unlink(path)
    finally:
        _OURS.discard(lease.text)


def held_by(path: str) -> str | None:
    """Who holds the file; None where nobody does, or it is stale."""
    text = _read(path)
    return None if text is None or _is_stale(path, text) else _name(text)


def _make(lease: Lease) -> None:
    while not _made(lease.path, lease.text):
        text = _read(lease.path)
        if text is None:
            continue  # it was given back since
        if not _is_stale(lease.path, text) or not _removed(lease.path, text):
            raise Held(errno.EAGAIN, _name(text), lease.path)


def _made(path: str, text: str) -> bool:
    """Whether the file was made; it is not where it is there."""
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return False
    try:
        with open(opened, "w") as file:
            file.write(text)
    except BaseException:  # raised again: an empty lease would keep others out
        os.unlink(path)
        raise
    return True


def _removed(path: str, text: str) -> bool:
    """Whether the stale file with that text was removed here: of several that find it stale by one of them, which is
    the one that makes a second file, named after the text."""
    mark = f"{path}.{folders.digest(text.encode())[:8]}"
    if not _made(mark, text):
        with contextlib.suppress(OSError):
            if _age(mark) > STALE:  # who made it has ended in between
                os.unlink(mark)
        return False
    try:
        if _read(path) != text or not _is_stale(path, text):
            return False
        os.unlink(path)
        return True
    finally:
        os.unlink(mark)


def _is_stale(path: str, text: str) -> bool:
    name = _name(text)
    if (number := process.number(name)) is not None:
        if not process.lives(name):
            return True
        if number == os.getpid() and text not in _OURS:  # of a process that had our number before us
            return True
    try:
        return _age(path) > STALE
    except FileNotFoundError:
        return False  # given back since


def _age(path: str) -> float:
    """Seconds since the file was renewed, by the time of a file that is made now beside it."""
    probe = os.path.join(os.path.dirname(path), f".now-{uuid.uuid4().hex}")
    os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    try:
        return os.stat(probe).st_mtime - os.stat(path).st_mtime
    finally:
        os.unlink(probe)


def _name(text: str) -> str:
    return text.partition("\n")[0] or "another process"


def _read(path: str) -> str | None:
    try:
        return folders.read_small(path, _LONGEST).decode(errors="replace")
    except FileNotFoundError:
        return None
