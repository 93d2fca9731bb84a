"""Which cells are being trained now, and how far they are: a file of the study's folder while something writes to it.

It lies beside `.lock`, and is believed only while the process that holds the folder lives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fusion_jax.folders import read_small
from fusion_jax.results.lock import holder
from fusion_jax.results.store import Store, write_json

NAME = ".running.json"
LONGEST = 1_000_000  # bytes that are read of it


def write(store: Store, cells: Mapping[str, Mapping[str, Any]]) -> None:
    """{cell: epoch, epochs, validation: [name, value]} of those that are trained now, and {cell: trials: [done, of how
    many], validation} of those that are tuned."""
    write_json(store.root / NAME, cells)


def read(store: Store) -> dict[str, dict[str, Any]] | None:
    """What `write` wrote last; {} where nothing is known of it, None where nothing on this machine writes to the
    folder."""
    if holder(store.root) is None:
        return None
    try:
        held = json.loads(read_small(store.root / NAME, LONGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(k): dict(v) for k, v in held.items() if isinstance(v, dict)} if isinstance(held, dict) else {}


def clear(store: Store) -> None:
    """Takes the file away."""
    (store.root / NAME).unlink(missing_ok=True)
