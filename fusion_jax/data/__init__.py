"""Data sets, one a file. `load(name, **options)` finds a file by its name, or by its path (`mine/cells.py`).

A data set's file defines `load(**options) -> Dataset` and, to be listed without being loaded, the constants
SOURCE, LICENCE, SUMMARY (a `base.Summary` of what the default options give), FILES (a `files.Files`, or None
where there is nothing to get) and CHECKSUM (sha256, "" where the options determine the contents); and PACKAGE,
(import name, what pip is to install), where it is part of a package that may be absent; and PLACES, the names of
options that say where files lie, which become absolute paths in a config and are no part of a cell's identity; and
`called(**options)`, the name of what lies there, where it is not that of the file.

`python -m fusion_jax.data [--json]` lists them: present or how to get them, licence, checksum.
"""

from __future__ import annotations

import functools
import inspect
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType

from fusion_jax import zoo
from fusion_jax.data.base import Dataset, Split, Splits
from fusion_jax.zoo import nearest

__all__ = ["Dataset", "Split", "Splits", "called", "defaults", "load", "module", "names"]


def names() -> list[str]:
    """All data sets, sorted: every file of this folder that defines `load`, and the entry points `fusion_jax.data`."""
    here = {path.stem for path in pathlib.Path(__file__).parent.glob("[!_]*.py") if _defines_load(path)}
    folders = {path.parent.name for path in pathlib.Path(__file__).parent.glob("*/__init__.py")}
    helpers = ({path.stem for path in pathlib.Path(__file__).parent.glob("*.py")} | folders) - here
    return sorted(set(zoo.names("data")) - helpers)


def _defines_load(path: pathlib.Path) -> bool:
    return re.search(r"^def load\(", path.read_text(encoding="utf-8"), re.MULTILINE) is not None


def module(name: str) -> ModuleType:
    """The module of a data set.

    Raises:
        ValueError: unknown name; names the nearest. A file outside that defines no `load`. A data set in memory.
    """
    if name.startswith(zoo.MEMORY):
        raise ValueError(f"data set {name!r} lies in memory, and no file makes it: hand the Dataset over (data=...)")
    known = names()
    if not zoo.is_path(name) and name not in known:
        raise ValueError(f"no data set named {name!r}{nearest(name, known)}; there are: {', '.join(known)}")
    found = zoo.module("data", name)
    if not hasattr(found, "load"):
        raise ValueError(f"data file {name!r} defines no function `load`")
    return found


def defaults(name: str) -> dict[str, object]:
    """The options of a data set's loader with their defaults; {} where there is no such data set, which `load` says."""
    if not zoo.is_path(name) and name not in names():
        return {}
    known = inspect.signature(module(name).load).parameters.values()
    return {p.name: p.default for p in known if p.default is not p.empty}


def places(name: str) -> tuple[str, ...]:
    """The options of a data set that say where it lies, `PLACES` of its file: its contents count, and not these."""
    return tuple(getattr(module(name), "PLACES", ())) if zoo.is_path(name) else _places(name)


@functools.cache  # asked for every cell of a study
def _places(name: str) -> tuple[str, ...]:
    return tuple(getattr(module(name), "PLACES", ())) if name in names() else ()


def called(name: str, options: Mapping[str, object]) -> str:
    """What a data set calls itself: its name, without a path; of one whose contents are the user's what `called` of its
    file says."""
    own = None if zoo.is_path(name) else _called(name)
    return zoo.short(name) if own is None else own(**options)


@functools.cache  # asked for with every line of progress
def _called(name: str) -> Callable[..., str] | None:
    return getattr(module(name), "called", None) if name in names() else None


def loader_of(name: str, options: Iterable[str] = ()) -> Callable[..., Dataset]:
    """The `load` of a data set, which takes these options. Raises ValueError: unknown name or option; the nearest."""
    loader = module(name).load
    known = inspect.signature(loader).parameters
    for option in options:
        if option not in known:
            raise ValueError(
                f"data set {name!r} has no option {option!r}{nearest(option, known)}; its options: "
                f"{', '.join(known) or 'none'}"
            )
    return loader


def load(name: str, **options) -> Dataset:
    """The data set of that name, validated.

    Raises:
        ValueError: unknown name or option, contents that fail validation, or a file whose `load` returns no `Dataset`.
        FileNotFoundError: its files are neither found nor to be downloaded; says where to put them.
    """
    found = loader_of(name, options)(**options)
    if not isinstance(found, Dataset):
        raise ValueError(f"data set {name!r}: load() returned {found!r:.100}, expected a Dataset")
    return found
