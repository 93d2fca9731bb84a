"""Folders as users name them: `~`, a home that is not known, and whether files are what was written."""

from __future__ import annotations

import errno
import hashlib
import os
import pathlib
import stat
from typing import Any

from etils import epath

STORAGE = ("gs://", "s3://", "az://", "hf://")  # what etils.epath takes for object storage


class Damaged(ValueError):
    """A file is not what was written; the message names it."""


def expand(path: str | os.PathLike) -> str:
    """The path with `~` and `~user` replaced by the home folder; every other character stands for itself.

    Raises:
        ValueError: that home folder is not known; it begins like an address of no storage that is known.
    """
    text = os.path.expanduser(os.fspath(path))
    if "://" in text and not text.startswith(STORAGE):
        raise ValueError(f"{text!r}: expected the path of a folder, or object storage: {', '.join(STORAGE)}")
    if text.startswith("~"):
        raise ValueError(f"{text!r}: no home folder of that name is known here; give the whole path")
    return text


def is_name(value: Any) -> bool:
    """Whether that is the name of something in a folder, and leads nowhere else."""
    return isinstance(value, str) and value not in ("", ".", "..") and not set(value) & set("/\\\0")


def is_inside(value: Any) -> bool:
    """Whether that is a path from a folder to something below it: names joined by "/"."""
    return isinstance(value, str) and all(map(is_name, value.split("/")))


def made(folder: epath.Path) -> epath.Path:
    """The folder, made where it is not there.

    Raises:
        OSError: it is a link: what is written or cleared there may be somebody else's. Or it cannot be made.
    """
    if os.path.islink(folder):
        raise OSError(errno.EEXIST, "is a link, expected a folder: remove it, or name what it leads to", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def user_cache() -> pathlib.Path | None:
    """`fusion_jax` in $XDG_CACHE_HOME, or in ~/.cache; None where no home is known."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return None if base.startswith("~") else pathlib.Path(base).absolute() / "fusion_jax"


def digest(content: bytes) -> str:
    """sha256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def files(folder: Any, prefix: str = "") -> dict[str, Any]:
    """{path relative to the folder: path} of every file below it, sorted.

    Folders are listed, never matched against a pattern: in one, brackets in a folder's own name would count.
    """
    found = {}
    for path in sorted(folder.iterdir()):
        name = prefix + path.name
        found.update(files(path, f"{name}/") if path.is_dir() else {name: path})
    return found


def digests(folder: Any) -> dict[str, str]:
    """{path relative to the folder: sha256} of every file below it."""
    return {name: digest(path.read_bytes()) for name, path in files(folder).items()}


def read(path: epath.Path) -> bytes:
    """The bytes of a file.

    Raises:
        Damaged: it is something else: a folder, or what would be waited for (a pipe, a device); or no path leads to it,
            through links that name each other, or what should be a folder.
        FileNotFoundError: it is not there.
    """
    name = os.fspath(path)
    if "://" not in name and os.path.exists(name) and not stat.S_ISREG(os.stat(name).st_mode):
        raise Damaged(f"{name} is no plain file")
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise Damaged(f"{name} cannot be reached: {error.strerror}") from error


def read_checked(path: epath.Path, expected: str) -> bytes:
    """The bytes of a file that has that sha256.

    Raises:
        Damaged: it has another one, or is not there.
    """
    try:
        content = read(path)
    except FileNotFoundError as error:
        raise Damaged(f"{os.fspath(path)} is missing") from error
    if (found := digest(content)) != expected:
        sums = f"sha256 {found[:12]}, not {expected[:12]}"
        raise Damaged(f"{os.fspath(path)} is damaged: it is not what was written ({sums})")
    return content


def read_small(path: str | os.PathLike, most: int) -> bytes:
    """The bytes of a file of this machine that anybody may have written: a plain one, no link, no device.

    Raises:
        OSError: it is not there, or is something else, or longer than `most` bytes.
    """
    name = os.fspath(path)
    opened = os.open(name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(opened, "rb") as file:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise OSError(errno.EINVAL, "is no plain file", name)
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"has more than {most} bytes", name)
    return content
