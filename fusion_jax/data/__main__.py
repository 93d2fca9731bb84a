"""Lists the data sets: `python -m fusion_jax.data [--json]`. Nothing is loaded or downloaded.

With `--folder=DIR` it reads the tables of a folder, as data set `tables` would, and says what became of them. With
`--card` it says of that folder, or of the data set `--name=NAME`, where the information lies and which fusions can
reach it (`data.card`).
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import inspect
import json
import sys
from typing import Any

from fusion_jax import data, terminal
from fusion_jax.data.card import card
from fusion_jax.data.files import Files, check


def rows() -> list[dict[str, Any]]:
    """One entry a data set: what it holds, whether it is present or how to get it, licence, sha256."""
    return [_row(name, data.module(name)) for name in data.names()]


def _row(name: str, module) -> dict[str, Any]:
    source = getattr(module, "FILES", None)
    files = {file: _file(source, file) for file in source.sha256} if source else {}
    summary = getattr(module, "SUMMARY", None)  # a file needs to define `load` alone; what it does not say is not known
    options = inspect.signature(module.load).parameters.values()
    install = _install(module) or _place(module)
    return dict(
        name=name,
        summary=(inspect.getdoc(module) or "").split("\n")[0],
        nodes=summary and summary.nodes,
        modalities=summary.modalities if summary else {},
        classes=summary and summary.classes,
        graphs=list(summary.graphs) if summary else [],
        present=not install and all(file["state"] == "present" for file in files.values()),
        get=install or _get(source, files),
        licence=getattr(module, "LICENCE", "not stated"),
        source=getattr(module, "SOURCE", "not stated"),
        checksum=getattr(module, "CHECKSUM", ""),
        files=files,
        options={option.name: option.default for option in options},
    )


def _file(files: Files, name: str) -> dict[str, str]:
    path = files.find(name)
    state = "missing" if path is None else "present"
    if path is not None:
        try:
            check(path, files.sha256[name])
        except ValueError:
            state = "wrong sha256"
    return dict(state=state, path=str(path or ""), sha256=files.sha256[name], url=files.url(name))


def _install(module) -> str:
    """How to install the package a set is part of, "" where it is there or the set needs none."""
    package, requirement = getattr(module, "PACKAGE", ("", ""))
    if not package or importlib.util.find_spec(package):
        return ""
    return f"pip install '{requirement}'"


def _place(module) -> str:
    """How to say where the files of a set lie that are the user's own, "" where the set knows itself."""
    return "; ".join(f"your own: --config.data.options.{option}=DIR" for option in getattr(module, "PLACES", ()))


def _get(files: Files | None, found: dict[str, dict[str, str]]) -> str:
    """What is to be done before the set can be loaded, "" if nothing."""
    wrong = [f["path"] for f in found.values() if f["state"] == "wrong sha256"]
    todo = [f"replace or remove {', '.join(wrong)} (wrong sha256)"] if wrong else []
    lacking = [name for name, f in found.items() if f["state"] == "missing"]
    derived = [name for name in lacking if name in files.derived]
    missing = [name for name in lacking if name not in derived]
    if derived:
        todo.append(f"{', '.join(derived)} cannot be downloaded: {files.by_hand(derived[0])}")
    if missing:
        todo.append(f"loading downloads {', '.join(missing)}; by hand: {files.by_hand(missing[0])}")
    return "; ".join(todo)


def check_folder(folder: str, as_json: bool) -> None:
    """Prints the report of a folder of tables."""
    report = data.load("tables", folder=folder).conversion
    print(report.json() if as_json else report.text())


def show_card(args: argparse.Namespace) -> None:
    """Prints the card of a data set, behind the report of a folder of tables."""
    own = {} if args.folder is None else dict(folder=args.folder)
    loaded = data.load(args.name or "tables", **own, **dict(map(_option, args.option)))
    if loaded.conversion is not None and not args.json:
        print(loaded.conversion.text(), end="\n\n")
    found = card(loaded, args.split_seed)
    print(found.json() if args.json else found.text())


def _option(text: str) -> tuple[str, Any]:
    """NAME=VALUE; a value that is no literal is a text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--option={text}: expected NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def main(argv: list[str] | None = None):
    parser = argparse.ArgumentParser(prog="fusion-jax data", description="The data sets.")
    parser.add_argument("--json", action="store_true", help="print the whole entries as JSON")
    parser.add_argument(
        "--folder", help="read the tables of this folder, and say what was joined, dropped and doubtful"
    )
    parser.add_argument("--card", action="store_true", help="say where the information about the target lies")
    parser.add_argument("--name", help="the data set of the card, where it is no folder")
    parser.add_argument(
        "--option", action="append", default=[], help="NAME=VALUE, an option of the data set, repeatable"
    )
    parser.add_argument("--split_seed", type=int, default=0, help="whose training rows the card looks at")
    args = parser.parse_args(argv)
    if args.card and (args.name is None) == (args.folder is None):
        parser.error("--card goes with one of --name and --folder")
    if not args.card and (args.name or args.option):
        parser.error("--name and --option go with --card")
    terminal.prepare()
    if args.card or args.folder is not None:
        try:
            show_card(args) if args.card else check_folder(args.folder, args.json)
        except (ValueError, TypeError, OSError) as error:  # what is wrong ends the program, in one line
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            sys.exit(2)
        return
    entries = rows()
    if args.json:
        print(json.dumps(entries, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(entries)} data sets")
    for column in ("name", "nodes", "modalities", "classes", "present", "licence", "source", "sha256"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        table.add_row(
            entry["name"],
            "-" if entry["nodes"] is None else str(entry["nodes"]),
            ", ".join(f"{name} {width}" for name, width in entry["modalities"].items()),
            "-" if entry["classes"] is None else str(entry["classes"]),
            "yes" if entry["present"] else f"no: {entry['get']}",
            entry["licence"],
            entry["source"],
            entry["checksum"][:12] or "once loaded",
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


if __name__ == "__main__":
    main()
