"""The layout of configs under schema 2, in which cells are hashed and older studies are stored.

Keys have been renamed since. A cell keeps its identity all the same, since what is hashed is the layout of then; and a
stored config of then reads as one of today.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

RENAMED = {  # key of today: key of schema 2
    "per_seed": "vary",
    "size.like": "match_params",
    "optimizer.rate_steps": "optimizer.steps",
    "optimizer.part_rates": "optimizer.factors",
}
VALUES = {  # key of today: {value of today: value of schema 2}
    "training.select": {"score": "accuracy"},
    "data.scale": {"modality": "view"},
}
GONE = {"loss": {"step": 0}}  # kind: options that every mechanism of it had, with the only value they had
LATER = {  # keys that schema 2 had not; the value that is as it was then
    "data.missing.name": "",
    "data.missing.options": {},
    "size.parameters": 0,
    "training.snapshots": 0,
    "training.node_devices": 0,
    "training.batch": 0,
    "training.fanout": (),
    "model.mixer.name": "standard",
    "model.mixer.options": {},
    "model.mixer.layers": "uniform",
    "model.mixer.part": "fusion",
    "resources.cpus": 0,
    "resources.gpus": 0,
    "resources.memory_gb": 0.0,
    "resources.minutes": 0,
}


def of_then(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config of today in the layout of schema 2; keys that were not there then stand in it where they say more."""
    held = copy.deepcopy(dict(config))
    for key, least in LATER.items():
        if _get(held, key) in (least, _plain(least)):
            _pop(held, key)
    for today, then in RENAMED.items():
        if _has(held, today):
            _put(held, then, _pop(held, today))
    for key, names in VALUES.items():
        if _has(held, key):
            value = _get(held, key)
            _put(held, key, names.get(value, value))
    return held


def of_today(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config, of today or of schema 2, in the layout of today."""
    held = copy.deepcopy(dict(config))
    for today, then in RENAMED.items():
        if _has(held, then):
            _put(held, today, _pop(held, then))
    for key, names in VALUES.items():
        if _has(held, key):
            value = _get(held, key)
            _put(held, key, {old: new for new, old in names.items()}.get(value, value))
    for key, least in LATER.items():
        if not _has(held, key):
            _put(held, key, copy.copy(_plain(least)))
    for name in GONE["loss"]:
        held["loss"]["options"].pop(name, None)
    return held


def _plain(value: Any) -> Any:
    """A tuple as the list that it is in a resolved config."""
    return list(value) if isinstance(value, tuple) else value


def _parent(tree: dict, key: str, make: bool = False) -> tuple[Any, str]:
    *parents, leaf = key.split(".")
    for part in parents:
        tree = tree.setdefault(part, {}) if make else tree.get(part, {})
    return tree, leaf


def _has(tree: dict, key: str) -> bool:
    parent, leaf = _parent(tree, key)
    return leaf in parent


def _get(tree: dict, key: str) -> Any:
    parent, leaf = _parent(tree, key)
    return parent.get(leaf)


def _put(tree: dict, key: str, value: Any) -> None:
    parent, leaf = _parent(tree, key, make=True)
    parent[leaf] = value


def _pop(tree: dict, key: str) -> Any:
    """Takes the key away, and the sections that become empty by it."""
    parent, leaf = _parent(tree, key)
    value = parent.pop(leaf, None)
    section = key.rpartition(".")[0]
    if section and not parent:
        _pop(tree, section)
    return value
