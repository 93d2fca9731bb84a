"""Who writes to a results folder: one process alone, or several at one study, each of its cells by one of them.

    <workdir>/.lock             one that is alone has it, or those that share the study have it together
    <workdir>/.locks/study      for a moment, by whoever changes study.json or writes the report
    <workdir>/.locks/<cell>     while the cell is tuned, trained and stored
    <workdir>/.locks/at-...     of every process that shares the study, for others to read

The operating system keeps the locks, so that a process leaves none behind, however it ends (kill -9 included). They
hold between processes of one machine, and between machines where the file system carries locks. On a file system that
has none a warning says so, and files take their place that are made by one alone (`results.lease`). Object storage has
neither: there one process is to write at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO

from etils import epath

from fusion_jax.folders import made, read_small
from fusion_jax.results import process
from fusion_jax.results.lease import BEAT, STALE, Held, held_by, leased
from fusion_jax.training import stopping

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

PAUSE = 0.1  # seconds between two attempts of who waits
_FOLDER = ".locks"
_LONGEST = 1000  # bytes that are read of a lock file
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_LEASE = ".lease"
_MADE = b"process "  # what a lock file that was made here begins with
_AT, _ALONE = "at-", "alone-"


@contextlib.contextmanager
def exclusive(folder: epath.Path, why: str = "") -> Iterator[None]:
    """Holds the folder alone until the end of the block, or of the process.

    Args:
        why: it has to be alone, for the message.
    Raises:
        Held: another process writes to it; says which.
        OSError: `.lock` cannot be written, or is something else (a link, say), which is left as it is.
    """
    if not _is_lockable(folder):
        yield
        return
    with _opened(os.fspath(folder / ".lock")) as file:
        try:
            able = _lock(file, fcntl.LOCK_EX)
        except Held as error:
            raise _refused(folder, "is writing results here", why, _text(file)) from error
        if able:
            _sign(file)
            try:
                yield
            finally:
                file.truncate(0)
            return
    _warn(folder)
    with contextlib.ExitStack() as stack:
        with briefly(folder):
            if names := _leases(folder, _AT, _ALONE):
                raise _refused(folder, "is writing results here", why, ", ".join(names))
            stack.enter_context(leased(_path(folder, _own(_ALONE)) + _LEASE))
        yield


@contextlib.contextmanager
def joined(folder: epath.Path) -> Iterator[bool]:
    """Holds the folder together with others that hold it so. Yields whether there are none.

    Call it within `briefly`: two that begin at once would both find another one there.

    Raises: as `exclusive`.
    """
    if not _is_lockable(folder):
        yield True
        return
    with _opened(os.fspath(folder / ".lock")) as file:
        able, alone = True, True
        try:
            able = _lock(file, fcntl.LOCK_EX)
        except Held:
            alone = False
        if able and alone:
            file.truncate(0)
            _clear(folder, leases=False)
        try:
            able = able and _lock(file, fcntl.LOCK_SH)
        except Held as error:
            raise _refused(folder, "is writing results here", "", _text(file)) from error
        if able:
            with _hold(_path(folder, _own(_AT))):
                yield alone
            return
    _warn(folder)
    if names := _leases(folder, _ALONE):
        raise _refused(folder, "is writing results here", "", ", ".join(names))
    if alone := not _leases(folder, _AT):
        _clear(folder, leases=True)
    with leased(_path(folder, _own(_AT)) + _LEASE):
        yield alone


@contextlib.contextmanager
def briefly(folder: epath.Path) -> Iterator[None]:
    """Holds what all of a study have in common; waits for whoever else does. Raises as `holding`, and Stopped."""
    with holding(folder, "study", wait=True):
        yield


@contextlib.contextmanager
def holding(folder: epath.Path, name: str, wait: bool = False) -> Iterator[Callable[[], None]]:
    """Holds something of the folder, such as a cell by its identity. Yields what raises Lost where it is held no more.

    Args:
        wait: whether to wait until nobody else holds it.
    Raises:
        Held: another process, or thread, holds it; says which.
        Stopped: it was asked to stop while it waited (`training.stopping`).
        OSError: it cannot be locked; says why.
    """
    if not _is_lockable(folder):
        yield lambda: None
        return
    path = _path(folder, name)
    with contextlib.ExitStack() as stack:
        while True:
            try:
                still = stack.enter_context(_hold(path))
                break
            except Held:
                if not wait:
                    raise
            stopping.check()
            time.sleep(PAUSE)
        yield still


def holders(folder: epath.Path) -> list[str]:
    """The processes of this machine that write to the folder now, "process 12 on host".

    They are told by what they have written: to try their locks would keep out one that begins at that moment.
    """
    there = [name for what, name in _kept(folder).items() if what.startswith((_AT, _ALONE))]
    return [name for name in dict.fromkeys([_written(folder / ".lock"), *there]) if process.lives(name)]


def held(folder: epath.Path) -> dict[str, str]:
    """{what: by which process} of what processes of this machine hold now (`holding`)."""
    return {what: name for what, name in _kept(folder).items() if process.lives(name)}


def _kept(folder: epath.Path) -> dict[str, str]:
    """{what: the name} that files of the folder's locks say, whether or not they are held."""
    place = os.path.join(os.fspath(folder), _FOLDER)
    with contextlib.suppress(OSError):
        return {name.removesuffix(_LEASE): _written(os.path.join(place, name)) for name in sorted(os.listdir(place))}
    return {}


def _written(path: str | os.PathLike) -> str:
    """The first line of a lock file; "" where there is none."""
    with contextlib.suppress(OSError):
        return read_small(path, _LONGEST).decode(errors="replace").partition("\n")[0]
    return ""


@contextlib.contextmanager
def _hold(path: str) -> Iterator[Callable[[], None]]:
    """Holds a file of its own, which is gone behind the block. Raises Held."""
    while True:
        with _opened(path) as file:
            try:
                able = _lock(file, fcntl.LOCK_EX)
            except Held as error:
                raise Held(errno.EAGAIN, _text(file) or "another process", path) from error
            if not able:
                break
            if not _is_at(file, path):
                continue  # who had it before has removed it since it was opened
            _sign(file)
            try:
                yield lambda: None
            finally:
                with contextlib.suppress(OSError):  # somebody has removed it
                    os.unlink(path)
            return
    with contextlib.suppress(OSError):
        os.unlink(path)
    with leased(path + _LEASE) as lease:
        yield lease.check


def _clear(folder: epath.Path, leases: bool) -> None:
    """Removes what killed processes have left, where nobody else is at work."""
    place = os.path.dirname(_path(folder, ""))
    for name in os.listdir(place):
        if name.startswith(_AT) and name.endswith(_LEASE) is leases:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(place, name))


def _lock(file: BinaryIO, how: int) -> bool:
    """Whether the file system has locks; the file is locked then. Raises Held where another has it."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Held(error.errno, "another process", file.name) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise OSError(error.errno, f"cannot be locked: {error.strerror}", file.name) from error
        return False
    return True


def _is_at(file: BinaryIO, path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    return False


def _sign(file: BinaryIO) -> None:
    file.truncate(0)
    file.write(process.this().encode())
    file.flush()


def _text(file: BinaryIO) -> str:
    return file.read(_LONGEST).decode(errors="replace").strip()


def _is_lockable(folder: epath.Path) -> bool:
    return fcntl is not None and "://" not in os.fspath(folder)


def _path(folder: epath.Path, name: str) -> str:
    return os.path.join(os.fspath(made(epath.Path(folder) / _FOLDER)), name)


def _own(kind: str) -> str:
    return kind + uuid.uuid4().hex[:12]


def _leases(folder: epath.Path, *kinds: str) -> list[str]:
    """Who holds a lease of these kinds."""
    place = os.path.dirname(_path(folder, ""))
    names = [name for name in sorted(os.listdir(place)) if name.startswith(kinds) and name.endswith(_LEASE)]
    return [who for name in names if (who := held_by(os.path.join(place, name)))]


def _refused(folder: epath.Path, does: str, why: str, who: str) -> Held:
    who = who or ", ".join(holders(folder)) or "another process"
    said = f"{who} {does}; wait for it, or name another folder{f': {why}' if why else ''}"
    return Held(errno.EAGAIN, said, os.fspath(folder))


def _warn(folder: epath.Path) -> None:
    warnings.warn(
        f"{os.fspath(folder)} lies on a file system without locks: files in {_FOLDER} say who works on what, "
        f"renewed every {BEAT:.0f} s; what a process held that has died on another machine is free after {STALE:.0f} s",
        stacklevel=4,
    )


def _opened(path: str) -> BinaryIO:
    """The lock file, made where there is none; a link is not followed, and another file is not written to."""
    return open(path, "r+b", opener=lambda path, flags: _open(path))


def _open(path: str) -> int:
    try:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(error.errno, "is a symbolic link, and a lock is a file: remove it", path) from error
    plain = stat.S_ISREG(os.fstat(opened).st_mode)
    content = os.pread(opened, len(_MADE), 0) if plain else b""
    if not plain or content not in (b"", _MADE):
        os.close(opened)
        raise OSError(errno.EEXIST, "is no lock that was made here: move it away", path)
    return opened
