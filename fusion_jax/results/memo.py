"""What was read of a cell, kept as long as its record is the same: a page that follows a study reads each cell once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import TypeVar

from etils import epath

from fusion_jax import folders
from fusion_jax.results.store import Store

T = TypeVar("T")
STATE = ("record.json", "failure.json")  # what is written last of a cell
_KEPT: weakref.WeakKeyDictionary[Store, dict[str, tuple[Hashable, object]]] = weakref.WeakKeyDictionary()


def once(store: Store, identity: str, key: Hashable, read: Callable[[], T]) -> T:
    """What `read` returned when the cell had the record it has now, and the key was the same; else what it returns.

    A store is what remembers: another one of the same folder reads anew.
    """
    state = key, tuple(_content(store.cell(identity) / name) for name in STATE)
    kept = _KEPT.setdefault(store, {})
    if identity not in kept or kept[identity][0] != state:
        kept[identity] = state, read()
    return kept[identity][1]


def _content(path: epath.Path) -> bytes | str | None:
    try:
        return folders.read(path) if path.exists() else None
    except folders.Damaged as error:  # `read` says so where it minds
        return str(error)
