"""The commands, a file each: flags and printing only. `python -m experiments.sweep`; installed, `fusion-jax sweep`."""

from __future__ import annotations

import os
import pathlib
import runpy
import sys

from fusion_jax.zoo import nearest


def commands() -> dict[str, str]:
    """{command: what it does}, of every file here that can be run by itself."""
    found = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("[!_]*.py")):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text and not path.stem.startswith(("bench_", "mutants")):
            found[path.stem] = text.split('"""')[1].split("\n")[0]
    return found


def main() -> None:
    """`fusion-jax <command> [flags]`."""
    known = commands()
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        print("fusion-jax <command> [flags]; fusion-jax <command> --help\n")
        print("\n".join(f"  {command:<10} {summary}" for command, summary in known.items()))
        return
    if name not in known:
        sys.exit(f"error: no command {name!r}{nearest(name, known)}; there are: {', '.join(known)}")
    sys.argv = [f"fusion-jax {name}", *sys.argv[2:]]
    sys.path.insert(0, os.getcwd())  # as `python -m` does: a study may import what lies beside it
    runpy.run_module(f"{__name__}.{name}", run_name="__main__", alter_sys=False)
