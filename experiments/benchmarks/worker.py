"""One side of a case in a process of its own, so that neither its threads nor its memory are the other side's.

The process says in a line of JSON that it is ready, and after every line it is given how long a run took.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Failed(RuntimeError):
    """A side that cannot be measured; says why."""


class Side:
    """The process of a side, ready to run.

    Args:
        case: as `cases.as_dict` gives it.
        side: "ours", "limits", or one of the case's peers.
        folder: what sides hand over, and what they print.
        threads: how many cores it may use, and threads it may start; 0 for all.
    Raises:
        Failed: it did not become ready.
    """

    def __init__(self, case: dict[str, Any], side: str, folder: pathlib.Path, threads: int = 0):
        self.side, self.said = side, folder / f"{side}.txt"
        given = json.dumps(dict(case=case, side=side, folder=str(folder), threads=threads))
        env = {**os.environ, **({name: str(threads) for name in THREADS} if threads else {})}
        with self.said.open("w") as said, _Cores(threads):
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", __name__, given],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=env,
                text=True,
            )
        self.facts = self._answer()

    def run(self) -> float:
        """Runs it once: seconds. `facts` then say how much memory the process has held at most."""
        with contextlib.suppress(BrokenPipeError):  # it has ended: there is no answer
            self.process.stdin.write("run\n")
            self.process.stdin.flush()
        answer = self._answer()
        self.facts |= answer
        return answer["seconds"]

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else dict(error=f"ended without a word{self._last()}")
        if "error" in answer:
            self.close()
            raise Failed(f"{self.side}: {answer['error']}")
        return answer

    def _last(self) -> str:
        lines = self.said.read_text(errors="replace").strip().splitlines()
        return f" ({lines[-1]})" if lines else ""


class _Cores:
    """Within it this thread, and so what it starts, may use the first so many cores that it had (Linux)."""

    def __init__(self, count: int):
        self.count = count if hasattr(os, "sched_setaffinity") else 0

    def __enter__(self) -> None:
        if self.count:
            self.before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, sorted(self.before)[: self.count])

    def __exit__(self, *_: Any) -> None:
        if self.count:
            os.sched_setaffinity(0, self.before)


def main(argv: Sequence[str]) -> None:
    given = json.loads(argv[0])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(**found: Any) -> None:
        print(json.dumps(found), file=answers, flush=True)

    try:
        folder = pathlib.Path(given["folder"])
        if given["side"] == "limits":
            from . import ours

            answer(**ours.limits())
            return
        from .cases import of_dict
        from .timing import peak_mb, settle

        case = of_dict(given["case"])
        if given["side"] == "ours":
            from . import ours

            side = ours.ready(case, folder)
        else:
            from . import peers

            side = peers.ready(case, given["side"], folder, given["threads"])
        answer(**side.facts, before_mb=settle())
        for _ in sys.stdin:
            seconds = side.run()
            answer(**side.facts, seconds=seconds, peak_mb=peak_mb())
    except Exception as error:  # the process that waits is told, whatever it is
        text = str(error).strip().splitlines()
        answer(error=f"{type(error).__name__}: {text[0] if text else ''}")
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
