"""Options of a golden case that no array of it holds, such as the number of heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np


def divisors(width: int, first: int = 1) -> list[int]:
    """All divisors of a width, `first` (what the README says) in front where it is one."""
    return sorted((h for h in range(1, width + 1) if width % h == 0), key=lambda h: h != first)


def matching(run: Callable, candidates: Iterable, reference: np.ndarray):
    """run(*candidate) of the first candidate whose result is the reference, else of the first.

    `run` returns a dict of arrays, of which "y" is compared. Heads and the like change the numbers in the
    first digits, so that a match at 1e-9 identifies them; where nothing matches, the test that follows fails.
    """
    first = None
    for candidate in candidates:
        result = run(*candidate)
        first = result if first is None else first
        if np.allclose(result["y"], reference, rtol=1e-9, atol=1e-9 * np.abs(reference).max()):
            return result
    return first
