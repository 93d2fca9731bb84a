"""The catalogue: what is interchangeable is found by walking the folders; a file's name is its name.

`fusion-jax zoo [--json]` (or `python -m fusion_jax.zoo`) prints it. Adding a mechanism is adding a file: here in the
folder of its kind; or anywhere else, named by its path (`model.fusion.name=path/to/mine.py`), or as the entry point of
an installed package, in the group `fusion_jax.<kind>`:

    [options.entry_points]
    fusion_jax.fusion =
        mine = my_package.mine

Of an entry point its distribution's version counts in a cell's identity; of a file outside what stands in it. Whatever
that file imports does not: raise `version` in its Info when a helper beside it computes something else than before.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import importlib.metadata
import inspect
import os
import pathlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from fusion_jax.outside import Files

KINDS = {
    "fusion": "fusion_jax.fusion",
    "layer": "fusion_jax.layers",
    "encoder": "fusion_jax.encoders",
    "readout": "fusion_jax.readouts",
    "loss": "fusion_jax.losses",
    "control": "fusion_jax.controls",
    "scheme": "fusion_jax.schemes",
    "merging": "fusion_jax.merging",
    "analysis": "fusion_jax.analysis",
    "mixer": "fusion_jax.mixers",
}
OTHERS = {
    "task": "fusion_jax.tasks",
    "metric": "fusion_jax.metrics",
    "structure": "fusion_jax.structures",
    "data": "fusion_jax.data",
    "missing": "fusion_jax.data.missing",
    "engine": "fusion_jax.run.engines",
    "display": "fusion_jax.run.display",
    "writer": "fusion_jax.run.writers",
}

MEMORY = "memory:"  # begins the name of a data set that no file makes: who runs or restores its cells hands it over
SCORING = ("task", "metric")  # what is predicted and how it is scored: listed where they are asked for


def nearest(name: str, names) -> str:
    """' (did you mean 'x'?)', or '' where nothing is near."""
    close = difflib.get_close_matches(str(name), list(names), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def names(kind: str) -> list[str]:
    """All of a kind that are in the package or are entry points, sorted.

    Raises:
        ValueError: unknown kind.
    """
    return sorted(filter(_is_listed, _own(kind) | set(_entry_points(kind))))


def module(kind: str, name: str) -> ModuleType:
    """The module of that name; a name that ends in `.py` is the path of a file.

    A file that has changed since is executed anew, as another module, but within `held`.

    Raises:
        ValueError: unknown name, naming the nearest; a file or an entry point that cannot be executed; an entry point
            of a name that the package or another entry point has.
        FileNotFoundError: no file at that path.
    """
    if is_path(name):
        return _FILES.module(kind, str(pathlib.Path(name).expanduser().resolve()))
    known, entries = names(kind), _entry_points(kind).get(name, ())
    if name not in known:
        raise ValueError(f"no {kind} named {name!r}{nearest(name, known)}; there are: {', '.join(known)}")
    own = f"{_package(kind)}.{name}"
    in_package = not entries or name in _own(kind)
    if in_package + len(entries) > 1:
        places = " and ".join([own] * in_package + [_place(entry) for entry in entries])
        raise ValueError(f"{kind} {name!r} is {places}; expected one: an entry point needs a name of its own")
    return _loaded(kind, entries[0]) if entries else importlib.import_module(own)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within it, in every thread, a file outside stays what it was when it was first asked for, whatever it is now.

    So what names a cell and what trains it are one text.
    """
    with _FILES.held():
        yield


def is_path(name: str) -> bool:
    """Whether the name is the path of a file."""
    return name.endswith(".py") and not name.startswith(MEMORY)


def outside(kind: str, name: str) -> bool:
    """Whether it is no mechanism of the package: a file by its path, or an entry point."""
    return is_path(name) or name in _entry_points(kind)


def absolute(name: str) -> str:
    """The name, a path as it is found from any folder."""
    return os.path.abspath(os.path.expanduser(name)) if is_path(name) else name


def short(name: str) -> str:
    """The name in tables: of a path its file's, without `.py`; of a data set in memory its own."""
    return pathlib.Path(name).stem if is_path(name) else name.removeprefix(MEMORY)


def get(kind: str, name: str) -> Any:
    """The mechanism itself: the class (or function) of the file called `name`.

    A file's mechanism is the one whose name, in lower case without underscores, is the file's.
    """
    mod = module(kind, name)
    flat, own = short(name).replace("_", "").lower(), {}
    for attribute, value in vars(mod).items():
        if getattr(value, "__module__", None) == mod.__name__ and callable(value):
            if attribute.replace("_", "").lower() == flat:
                return value
            own[attribute] = value
    where = mod.__name__ if not is_path(name) else name
    wanted = "".join(part.capitalize() for part in short(name).split("_"))
    found = ", ".join(attribute for attribute in own if not attribute.startswith("_")) or "none"
    raise ValueError(
        f"{where} defines no class or function named like its file ({name!r}): expected {wanted} (or {short(name)}), "
        f"found {found}"
    )


def info(kind: str, name: str) -> Any:
    """The entry of a mechanism in the catalogue: `info` of its class, or INFO of its file; None if there is neither."""
    return getattr(get(kind, name), "info", None) or getattr(module(kind, name), "INFO", None)


def version(kind: str, name: str) -> list[Any]:
    """What says that a mechanism computes something else than before.

    Its version (`Info.version`; of what has no Info, such as a task, its own); of a file outside also the sha256 of the
    text that was executed, of an entry point its distribution's version.
    """
    entry = info(kind, name)
    own = [getattr(get(kind, name) if entry is None else entry, "version", 1)]
    if is_path(name):
        return [*own, module(kind, name).__sha256__]
    return [*own, *(f"{e.dist.name} {e.dist.version}" for e in _entry_points(kind).get(name, ()) if e.dist)]


def content(kind: str, name: str) -> str:
    """The name by what it stands for, wherever that lies: a path as its file's name and sha256."""
    return f"{short(name)} {module(kind, name).__sha256__}" if is_path(name) else name


def uses(kind: str, name: str) -> list[tuple[str, str]]:
    """Kind and name of the other mechanisms of the package from whose files its file has a function or a class."""
    mod, found = module(kind, name), {}
    kinds = {_package(other): other for other in (*KINDS, "task", "structure")}
    for value in vars(mod).values():
        origin = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
        package, _, other = origin.rpartition(".") if isinstance(origin, str) else ("", "", "")
        if package in kinds and origin != mod.__name__ and _is_listed(other):
            found[kinds[package], other] = None
    return list(found)


def name_of(mechanism: Any) -> str:
    """The name of a mechanism, or of an instance of one: that of its file."""
    kind = mechanism if inspect.isclass(mechanism) else type(mechanism)
    path = pathlib.Path(sys.modules[kind.__module__].__file__)
    return path.parent.name if path.stem == "__init__" else path.stem


def options(kind: str, name: str) -> dict[str, Any]:
    """The keyword options of a mechanism with their defaults."""
    return {p.name: p.default for p in _options(kind, name)}


def whole(kind: str, name: str) -> dict[str, bool]:
    """The options that are whole numbers, as their annotations say (`int`, `int | None`), and whether None is one."""
    told = {p.name: p.annotation for p in _options(kind, name)}
    words = {k: a if isinstance(a, str) else inspect.formatannotation(a) for k, a in told.items()}
    return {k: word == "int | None" for k, word in words.items() if word in ("int", "int | None")}


def _options(kind: str, name: str) -> list[inspect.Parameter]:
    mechanism = get(kind, name)
    # An NNX class has the signature of its metaclass, (*args, **kwargs): only its __init__ names the options.
    call = mechanism.__init__ if inspect.isclass(mechanism) else mechanism
    found = inspect.signature(call).parameters.values()
    return [p for p in found if p.kind is p.KEYWORD_ONLY and p.default is not p.empty]


def check_options(kind: str, name: str, given: dict[str, Any]):
    """Raises ValueError where an option is not one of the mechanism's; names the nearest."""
    known = options(kind, name)
    for option in given:
        if option not in known:
            raise ValueError(
                f"{kind} {name!r} has no option {option!r}{nearest(option, known)}; its options: "
                f"{', '.join(known) or 'none'}"
            )


def make(kind: str, name: str, *args, options: dict[str, Any] | None = None, **fixed) -> Any:
    """Builds a mechanism: `get(kind, name)(*args, **options, **fixed)` after checking the options.

    Raises:
        ValueError: unknown kind, name or option, or options of a type that the mechanism cannot use.
    """
    given = {k: _as_tuple(v) for k, v in (options or {}).items()}
    check_options(kind, name, given)
    try:
        return get(kind, name)(*args, **given, **fixed)
    except TypeError as error:
        raise ValueError(f"{kind} {name!r} cannot be made with the options {given}: {error}") from error


def _as_tuple(value: Any) -> Any:
    """Lists as tuples: options read from JSON or a command line as a mechanism's own defaults are written."""
    return tuple(_as_tuple(v) for v in value) if isinstance(value, list | tuple) else value


def _package(kind: str) -> str:
    known = KINDS | OTHERS
    if kind not in known:
        raise ValueError(f"no kind {kind!r}{nearest(kind, known)}; there are: {', '.join(known)}")
    return known[kind]


def _is_listed(name: str) -> bool:
    """Whether a file of that name is a mechanism, no contract and no helper."""
    return name != "base" and not name.startswith("_")


def _own(kind: str) -> frozenset[str]:
    """The names of all files in the package's folder of that kind."""
    folders = tuple(importlib.import_module(_package(kind)).__path__)
    return _files_in(folders, tuple(os.stat(folder).st_mtime_ns if os.path.isdir(folder) else 0 for folder in folders))


@functools.lru_cache(maxsize=64)
def _files_in(folders: tuple[str, ...], changed: tuple[int, ...]) -> frozenset[str]:
    """The modules there; walked anew when a folder has changed, since a table asks for them thousands of times."""
    del changed
    return frozenset(m.name for m in pkgutil.iter_modules(folders))


@functools.cache
def _entry_points(kind: str) -> dict[str, list[importlib.metadata.EntryPoint]]:
    """{name: the entry points of that name}, of which there should be one."""
    found: dict[str, list] = {}
    for entry in importlib.metadata.entry_points(group=f"fusion_jax.{kind}"):
        found.setdefault(entry.name, []).append(entry)
    return found


def _place(entry: importlib.metadata.EntryPoint) -> str:
    """The entry point in words."""
    return f"{entry.value} of {entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _loaded(kind: str, entry: importlib.metadata.EntryPoint) -> ModuleType:
    where = f"{kind} {entry.name!r}, the entry point {_place(entry)}"
    try:
        found = entry.load()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{where}: {type(error).__name__}: {error}") from error
    if not isinstance(found, ModuleType):
        raise ValueError(f"{where}: {type(found).__name__} {entry.name!r}, expected a module")
    return found


_FILES = Files()


def catalogue(kinds: Iterable[str] = tuple(KINDS)) -> list[dict[str, Any]]:
    """One entry a mechanism: kind, name, summary, paper, year, placements, needs, what it is asked of, cost, what pins
    it, its options."""
    rows = []
    for kind in kinds:
        for name in names(kind):
            mechanism, held = get(kind, name), info(kind, name)
            rows.append(
                dict(
                    kind=kind,
                    name=name,
                    summary=(module(kind, name).__doc__ or "").strip().split("\n")[0],
                    paper=held.paper if held else "",
                    year=held.year if held else 0,
                    placements=list(getattr(mechanism, "placements", ())),
                    modalities=list(held.modalities) if held else [],
                    needs=list(held.needs) if held else [],
                    of=_asked(module(kind, name)),
                    cost=held.cost if held else "",
                    pinned=held.pinned if held else "",
                    golden=held.golden if held else "",
                    version=held.version if held else 1,
                    options={k: repr(v) for k, v in options(kind, name).items()},
                )
            )
    return rows


def _asked(module: ModuleType) -> list[str]:
    """What a file that asks finished cells is asked of, as it says itself: OF, and CHECKED_WITH for an example."""
    of, with_ = getattr(module, "OF", None), getattr(module, "CHECKED_WITH", {})
    if not isinstance(of, str):
        return []
    example = with_ if isinstance(with_, Mapping) else {}  # several cells are a study, and no example in a line
    shown = [f"{key.removeprefix('model.')}={value}" for key, value in example.items() if isinstance(value, str | int)]
    return [f"a finished {of}"] + [f"such as {', '.join(shown)}"] * bool(shown)


def main(argv: list[str] | None = None):
    import argparse
    import json

    parser = argparse.ArgumentParser(prog="fusion-jax zoo", description="The catalogue of mechanisms.")
    parser.add_argument("--json", action="store_true", help="print the whole entries as JSON")
    parser.add_argument("--kind", choices=sorted([*KINDS, *SCORING]), help="only this kind")
    parser.add_argument(
        "--name", help="the page of this mechanism: equation, paper, needs, cost, and what its options mean"
    )
    args = parser.parse_args(argv)
    try:
        found = catalogue([args.kind] if args.kind else KINDS)
    except ValueError as error:
        parser.error(str(error))
    rows = [row for row in found if args.name in (None, row["name"])]
    if not rows:
        parser.error(f"no mechanism named {args.name!r}{nearest(args.name, {row['name'] for row in found})}")
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    if args.name:
        print("\n\n".join(page(row) for row in rows))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(rows)} {f'{args.kind}s' if args.kind in SCORING else 'mechanisms'}")
    columns = ("kind", "name", "paper", "year", "placements", "needs", "cost", "pinned", "options")
    columns = ("kind", "name", "summary") if args.kind in SCORING else columns
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        row["needs"] = row["needs"] + row["of"]
        row["options"] = [f"{k}={v}" for k, v in row["options"].items()]
        cells = [", ".join(v) if isinstance(v := row[c], list) else str(v or "-") for c in columns]
        table.add_row(*cells)
    Console(width=None if sys.stdout.isatty() else 220).print(table)


def page(row: Mapping[str, Any]) -> str:
    """All there is to read about one entry of `catalogue`: its fields, what its file says and what it says itself."""
    kind, name = row["kind"], row["name"]
    fields = {key: row[key] for key in ("paper", "year", "placements", "modalities", "needs", "of", "cost", "pinned")}
    fields["options"] = [f"{k}={v}" for k, v in row["options"].items()]
    told = {k: ", ".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in fields.items() if v}
    listed = "\n".join(f"{f'{k}:':12}{v}" for k, v in told.items())
    texts = inspect.getdoc(module(kind, name)), inspect.getdoc(get(kind, name))
    return "\n\n".join(filter(None, (f"{kind} {name}", listed, *texts)))


if __name__ == "__main__":
    main()
