"""Seconds: of one call that is too short for a clock, and of several sides that take turns."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import pathlib
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Ready:
    """One side of a case, warmed up.

    Attributes:
        run: runs it once and returns the seconds that count.
        facts: what else is known of it; a run may add to it.
    """

    run: Callable[[], float]
    facts: dict[str, Any]


def called(call: Callable[[], Any], at_least: float = 0.2) -> float:
    """The median seconds of a call that is repeated, three times and for so long, unless one takes longer."""
    seconds = []
    while not seconds or sum(seconds) < at_least or (len(seconds) < 3 and sum(seconds) < 5 * at_least):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def held_mb() -> float:
    """What this process holds now, in MB (where the system does not say: the most that it has held)."""
    return _status("VmRSS") or _most_mb()


def peak_mb() -> float:
    """The most that this process has held since `settle`, in MB (since it began, where that does nothing)."""
    return _status("VmHWM") or _most_mb()


def settle() -> float:
    """Gives back what is free, and returns what is held then; from here on `peak_mb` counts anew.

    So what the compiler took is no part of a run. Where the system is not Linux it is.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    return held_mb()


def _status(field: str) -> float:
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) / 1e3 for line in lines if line.startswith(f"{field}:"))


def _most_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def alternate(runs: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every side, `repeats` rounds in which each runs once; every second round backwards, so that none has
    always the same one before it."""
    seconds = {name: [] for name in runs}
    for i in range(repeats):
        for name in list(runs)[:: -1 if i % 2 else 1]:
            seconds[name].append(runs[name]())
    return seconds


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How many times as long the other takes: of the medians, and from the least to the most of the rounds."""

    of_medians: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.of_medians:.2f}x ({self.low:.2f}-{self.high:.2f})"


def ratio(own: list[float], other: list[float]) -> Ratio:
    """`other` over `own`, seconds of the same rounds.

    Raises:
        ValueError: not as many of the one as of the other.
    """
    rounds = [b / a for a, b in zip(own, other, strict=True)]
    return Ratio(statistics.median(other) / statistics.median(own), min(rounds), max(rounds))
