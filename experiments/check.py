"""Checks a mechanism of your own: the contract of its kind, a line a rule, with what to do where one is not kept.

    python -m experiments.check mine.py              # a fusion, layer, encoder, readout, loss, scheme or control
    python -m experiments.check mine.py --kind=loss  # where the kind cannot be told from the file

The file is executed, and its mechanism is called on a graph of seven nodes. Exit status: 0 when every rule is kept,
1 when one is not or the file cannot be executed, 2 for a mistake on the command line.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys

from rich.console import Console
from rich.text import Text

from fusion_jax import checking, terminal, zoo
from fusion_jax.checking.base import ADVICE, FAILS, OK, UNASKED, Finding
from fusion_jax.training.compilation import check_platform, compiled_quickly, use_cache

from . import arguments

SHOWN = {OK: ("ok    ", "green"), FAILS: ("FAILS ", "red"), ADVICE: ("advice", "yellow"), UNASKED: ("-     ", "dim")}


def main(argv: list[str] | None = None) -> None:
    terminal.prepare()
    parser = argparse.ArgumentParser(prog="fusion-jax check", description="The contract, asked of one mechanism.")
    parser.add_argument("name", help="the path of a file, or a name in the catalogue")
    parser.add_argument("--kind", default="", choices=["", *checking.kinds()], help="told by its class if not given")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    args = parser.parse_args(argv)
    try:
        check_platform()
        use_cache()
        # what the file prints is not among the findings
        with contextlib.redirect_stdout(sys.stderr), compiled_quickly():
            kind = checking.kind_of(args.name, args.kind)
            findings = checking.check(args.name, kind)
    except FileNotFoundError as error:
        arguments.fail(error)
    except ValueError as error:
        arguments.fail(error, 1)
    if args.json:
        print(json.dumps(dict(name=args.name, kind=kind, rules=[*map(dataclasses.asdict, findings)]), indent=1))
    else:
        show(args.name, kind, findings)
    sys.exit(any(finding.verdict == FAILS for finding in findings))


def show(name: str, kind: str, findings: list[Finding]) -> None:
    """A line a rule, and one in the end."""
    console = Console(width=None if sys.stdout.isatty() else 400, highlight=False)
    for finding in findings:
        word, style = SHOWN[finding.verdict]
        said = "; ".join(filter(None, (finding.found, finding.do)))
        console.print(Text.assemble((word, style), f"  {finding.rule}", (said and f": {said}", style)))
    count = sum(finding.verdict == FAILS for finding in findings)
    kept = f"breaks {count} of {len(findings)} rules of its kind" if count else "keeps the contract of its kind"
    console.print(f"{kind} {zoo.short(name)!r} {kept}")


if __name__ == "__main__":
    main()
