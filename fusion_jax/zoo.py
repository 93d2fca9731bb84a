"""The catalogue: mechanisms are found by walking the folders; a file's name is the mechanism's name.

`python -m fusion_jax.zoo [--json]` prints it. Adding a mechanism is adding a file.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
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


def nearest(name: str, names) -> str:
    """' (did you mean 'x'?)', or '' where nothing is near."""
    close = difflib.get_close_matches(str(name), list(names), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def names(kind: str) -> list[str]:
    """All mechanisms of a kind, sorted.

    Raises:
        ValueError: unknown kind.
    """
    package = importlib.import_module(_package(kind))
    found = (m.name for m in pkgutil.iter_modules(package.__path__))
    return sorted(n for n in found if n != "base" and not n.startswith("_"))


def module(kind: str, name: str) -> ModuleType:
    """The module of a mechanism.

    Raises:
        ValueError: unknown name; names the nearest.
    """
    known = names(kind)
    if name not in known:
        raise ValueError(f"no {kind} named {name!r}{nearest(name, known)}; there are: {', '.join(known)}")
    return importlib.import_module(f"{_package(kind)}.{name}")


def get(kind: str, name: str) -> Any:
    """The mechanism itself: the class (or function) of the file called `name`.

    A file's mechanism is the one whose name, in lower case without underscores, is the file's.
    """
    mod = module(kind, name)
    flat = name.replace("_", "").lower()
    for attribute, value in vars(mod).items():
        own = getattr(value, "__module__", None) == mod.__name__
        if own and callable(value) and attribute.replace("_", "").lower() == flat:
            return value
    raise ValueError(f"{mod.__name__} defines no class or function named like its file ({name!r})")


def name_of(mechanism: Any) -> str:
    """The name of a mechanism, or of an instance of one: that of its file."""
    kind = mechanism if inspect.isclass(mechanism) else type(mechanism)
    return kind.__module__.rpartition(".")[2]


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
        ValueError: unknown kind, name or option.
    """
    given = {k: _as_tuple(v) for k, v in (options or {}).items()}
    check_options(kind, name, given)
    return get(kind, name)(*args, **given, **fixed)


def _as_tuple(value: Any) -> Any:
    """Lists as tuples: options read from JSON or a command line as a mechanism's own defaults are written."""
    return tuple(_as_tuple(v) for v in value) if isinstance(value, list | tuple) else value


def _package(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"no kind {kind!r}{nearest(kind, KINDS)}; there are: {', '.join(KINDS)}")
    return KINDS[kind]


def catalogue() -> list[dict[str, Any]]:
    """One entry a mechanism: kind, name, summary, paper, year, placements, needs, cost, what pins it."""
    rows = []
    for kind in KINDS:
        for name in names(kind):
            mechanism, mod = get(kind, name), module(kind, name)
            info = getattr(mechanism, "info", None) or getattr(mod, "INFO", None)
            rows.append(
                dict(
                    kind=kind,
                    name=name,
                    summary=(mod.__doc__ or "").strip().split("\n")[0],
                    paper=info.paper if info else "",
                    year=info.year if info else 0,
                    placements=list(getattr(mechanism, "placements", ())),
                    modalities=list(info.modalities) if info else [],
                    needs=list(info.needs) if info else [],
                    cost=info.cost if info else "",
                    pinned=info.pinned if info else "",
                    golden=info.golden if info else "",
                    options={k: repr(v) for k, v in options(kind, name).items()},
                )
            )
    return rows


def main(argv: list[str] | None = None):
    import argparse
    import json

    parser = argparse.ArgumentParser(prog="python -m fusion_jax.zoo", description="The catalogue of mechanisms.")
    parser.add_argument("--json", action="store_true", help="print the whole entries as JSON")
    parser.add_argument("--kind", choices=sorted(KINDS), help="only this kind")
    args = parser.parse_args(argv)
    rows = [r for r in catalogue() if args.kind in (None, r["kind"])]
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(rows)} mechanisms")
    columns = ("kind", "name", "paper", "year", "placements", "needs", "cost", "pinned")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = [", ".join(v) if isinstance(v := row[c], list) else str(v or "-") for c in columns]
        table.add_row(*cells)
    Console(width=None if __import__("sys").stdout.isatty() else 200).print(table)


if __name__ == "__main__":
    main()
