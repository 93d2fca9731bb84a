"""Which cells are being trained now, and how far they are: a file of the study's folder for each process that writes.

It is believed only while its process lives and holds the folder (`results.lock`).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from typing import Any

from etils import epath

from fusion_jax.folders import read_small
from fusion_jax.results import process
from fusion_jax.results.lock import holders
from fusion_jax.results.store import Store, write_json

LONGEST = 1_000_000  # bytes that are read of a file


def write(store: Store, cells: Mapping[str, Mapping[str, Any]]) -> None:
    """{cell: epoch, epochs, validation: [name, value]} of those that this process trains now, and {cell: trials:
    [done, of how many], validation} of those that it tunes."""
    write_json(path(store, os.getpid()), cells)


def read(store: Store) -> dict[str, dict[str, Any]] | None:
    """What the processes wrote last; {} where nothing is known of it, None where nothing on this machine writes to the
    folder."""
    names = holders(store.root)
    if not names:
        return None
    found = {}
    for name in names:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            held = json.loads(read_small(path(store, process.number(name)), LONGEST))
            found |= {str(k): dict(v) for k, v in held.items() if isinstance(v, dict)} if isinstance(held, dict) else {}
    return found


def clear(store: Store) -> None:
    """Takes the file of this process away, and those that killed ones of this machine have left."""
    path(store, os.getpid()).unlink(missing_ok=True)
    start, _, end = path(store, 0).name.partition("0")
    for file in store.root.iterdir():
        number = file.name.removeprefix(start).removesuffix(end)
        if file.name == f"{start}{number}{end}" and number.isdecimal():
            if not process.lives(process.named(int(number))):
                file.unlink(missing_ok=True)


def path(store: Store, number: int) -> epath.Path:
    """The file of the process of that number, of this machine."""
    return store.root / f".running-{number}-{socket.gethostname()}.json"
