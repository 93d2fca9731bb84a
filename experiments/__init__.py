"""The commands, a file each: flags and printing only. `python -m experiments.sweep`; installed, `fusion-jax sweep`."""

from __future__ import annotations

import functools
import os
import pathlib
import runpy
import signal
import sys
from collections.abc import Callable

from fusion_jax.zoo import nearest

TRAINING = ("claims", "sweep", "train", "tune")  # hear signals where they train, and have nothing to clean up before


def commands() -> dict[str, str]:
    """{command: what it does}, of every file here that can be run by itself."""
    found = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("[!_]*.py")):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text and not path.stem.startswith(("bench_", "mutants")):
            found[path.stem] = text.split('"""')[1].split("\n")[0]
    return found


def attend(end: Callable[[int], None] = os._exit) -> None:
    """Ctrl-C and SIGTERM end the process in one line, as long as nobody else hears them (`fusion_jax.run.signals`).

    What a command imports takes seconds, in which they would end it with a traceback and with nothing.

    Args:
        end: called with the exit status.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        now = signal.getsignal(number)  # what is ignored, or somebody else's, stays so
        if now in (signal.SIG_DFL, signal.default_int_handler) or getattr(now, "func", None) is _end:
            signal.signal(number, functools.partial(_end, end))


def _end(end: Callable[[int], None], number: int, frame: object) -> None:
    del frame
    name, status = ("Ctrl-C", 130) if number == signal.SIGINT else ("SIGTERM", 75)
    os.write(2, f"{name}: nothing trains, this stops\n".encode())  # a print may be what was interrupted
    end(status)


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
    if name in TRAINING:
        attend()
    sys.path.insert(0, os.getcwd())  # as `python -m` does: a study may import what lies beside it
    runpy.run_module(f"{__name__}.{name}", run_name="__main__", alter_sys=False)


if sys.argv[0] == "-m" and {f"{__name__}.{name}" for name in TRAINING} & set(sys.orig_argv):  # one is imported next
    attend()
