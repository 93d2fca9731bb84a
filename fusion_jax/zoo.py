"""The catalogue: what is interchangeable is found by walking the folders; a file's name is its name.

`fusion-jax zoo [--json]` (or `python -m fusion_jax.zoo`) prints it. Adding a mechanism is adding a file: here in the
folder of its kind; or anywhere else, named by its path (`model.fusion.name=path/to/mine.py`), or as the entry point of
an installed package, in the group `fusion_jax.<kind>`:

    [options.entry_points]
    fusion_jax.fusion =
        mine = my_package.mine
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pathlib
import pkgutil
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

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
}
OTHERS = {
    "task": "fusion_jax.tasks",
    "metric": "fusion_jax.metrics",
    "structure": "fusion_jax.structures",
    "data": "fusion_jax.data",
    "engine": "fusion_jax.run.engines",
}

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
    package = importlib.import_module(_package(kind))
    found = {m.name for m in pkgutil.iter_modules(package.__path__)} | set(_entry_points(kind))
    return sorted(n for n in found if n != "base" and not n.startswith("_"))


def module(kind: str, name: str) -> ModuleType:
    """The module of that name; a name that ends in `.py` is the path of a file.

    Raises:
        ValueError: unknown name, naming the nearest; a file that cannot be executed.
        FileNotFoundError: no file at that path.
    """
    if is_path(name):
        return _from_file(kind, str(pathlib.Path(name).expanduser().resolve()))
    known = names(kind)
    if name not in known:
        raise ValueError(f"no {kind} named {name!r}{nearest(name, known)}; there are: {', '.join(known)}")
    entry = _entry_points(kind).get(name)
    return entry.load() if entry else importlib.import_module(f"{_package(kind)}.{name}")


def is_path(name: str) -> bool:
    """Whether the name is the path of a file."""
    return name.endswith(".py")


def short(name: str) -> str:
    """The name in tables: of a path its file's, without `.py`."""
    return pathlib.Path(name).stem if is_path(name) else name


def get(kind: str, name: str) -> Any:
    """The mechanism itself: the class (or function) of the file called `name`.

    A file's mechanism is the one whose name, in lower case without underscores, is the file's.
    """
    mod = module(kind, name)
    flat = short(name).replace("_", "").lower()
    for attribute, value in vars(mod).items():
        own = getattr(value, "__module__", None) == mod.__name__
        if own and callable(value) and attribute.replace("_", "").lower() == flat:
            return value
    where = mod.__name__ if not is_path(name) else name
    raise ValueError(f"{where} defines no class or function named like its file ({name!r})")


def info(kind: str, name: str) -> Any:
    """The entry of a mechanism in the catalogue: `info` of its class, or INFO of its file; None if there is neither."""
    return getattr(get(kind, name), "info", None) or getattr(module(kind, name), "INFO", None)


def version(kind: str, name: str) -> list[Any]:
    """What says that a mechanism computes something else than before: its version, and of a file outside its sha256."""
    own = [getattr(info(kind, name), "version", 1)]
    if not is_path(name):
        return own
    return [*own, hashlib.sha256(pathlib.Path(name).expanduser().read_bytes()).hexdigest()]


def name_of(mechanism: Any) -> str:
    """The name of a mechanism, or of an instance of one: that of its file."""
    kind = mechanism if inspect.isclass(mechanism) else type(mechanism)
    path = pathlib.Path(sys.modules[kind.__module__].__file__)
    return path.parent.name if path.stem == "__init__" else path.stem


def options(kind: str, name: str) -> dict[str, Any]:
    """The keyword options of a mechanism with their defaults."""
    mechanism = get(kind, name)
    # An NNX class has the signature of its metaclass, (*args, **kwargs): only its __init__ names the options.
    call = mechanism.__init__ if inspect.isclass(mechanism) else mechanism
    return {
        p.name: p.default
        for p in inspect.signature(call).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.default is not p.empty
    }


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


@functools.cache
def _entry_points(kind: str) -> dict[str, importlib.metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=f"fusion_jax.{kind}")}


@functools.cache
def _from_file(kind: str, path: str) -> ModuleType:
    """Executes the file once a process. Its module is known to `sys.modules`, so that its classes can be pickled."""
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"no {kind} file {path!r}")
    name = f"fusion_jax_file_{hashlib.sha256(path.encode()).hexdigest()[:12]}.{short(path)}"
    spec = importlib.util.spec_from_file_location(name, path)
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    try:
        spec.loader.exec_module(found)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"{kind} file {path!r}: {type(error).__name__}: {error}") from error
    return found


def catalogue(kinds: Iterable[str] = tuple(KINDS)) -> list[dict[str, Any]]:
    """One entry a mechanism: kind, name, summary, paper, year, placements, needs, cost, what pins it, its options."""
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
                    cost=held.cost if held else "",
                    pinned=held.pinned if held else "",
                    golden=held.golden if held else "",
                    version=held.version if held else 1,
                    options={k: repr(v) for k, v in options(kind, name).items()},
                )
            )
    return rows


def main(argv: list[str] | None = None):
    import argparse
    import json

    parser = argparse.ArgumentParser(prog="fusion-jax zoo", description="The catalogue of mechanisms.")
    parser.add_argument("--json", action="store_true", help="print the whole entries as JSON")
    parser.add_argument("--kind", choices=sorted([*KINDS, *SCORING]), help="only this kind")
    parser.add_argument("--name", help="only this mechanism, with all of its options and their defaults")
    args = parser.parse_args(argv)
    found = catalogue([args.kind] if args.kind else KINDS)
    rows = [row for row in found if args.name in (None, row["name"])]
    if not rows:
        parser.error(f"no mechanism named {args.name!r}{nearest(args.name, {row['name'] for row in found})}")
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(rows)} {f'{args.kind}s' if args.kind in SCORING else 'mechanisms'}")
    columns = ("kind", "name", "paper", "year", "placements", "needs", "cost", "pinned", "options")
    columns = ("kind", "name", "summary") if args.kind in SCORING else columns
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        row["options"] = [f"{k}={v}" for k, v in row["options"].items()]
        cells = [", ".join(v) if isinstance(v := row[c], list) else str(v or "-") for c in columns]
        table.add_row(*cells)
    Console(width=None if sys.stdout.isatty() else 220).print(table)


if __name__ == "__main__":
    main()
