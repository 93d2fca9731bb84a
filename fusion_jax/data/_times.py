"""Times as a device can hold them: spans from a reference, taken in float64 on the host."""

from __future__ import annotations

import numpy as np


def spans(times: np.ndarray, reference: float | np.ndarray, unit: float = 1.0) -> np.ndarray:
    """(reference - times) / unit in float32, how long before the reference each time lies; negative behind it.

    A float32 has 24 bits: seconds since 1970 in it are 128 seconds apart, so the reference is subtracted first. Codes
    of time are made for periods of one unit and more.

    Args:
        times: as recorded, float64 or integers, any shape.
        reference: one for all, or broadcast against `times`: of an edge, the time of prediction at its receiver.
        unit: of the result, in that of `times`.
    Raises:
        ValueError: a time or reference that is not finite, or spans so long that float32 does not resolve a
            hundredth of the unit.
    """
    if not unit > 0:
        raise ValueError(f"unit={unit}, expected a number > 0")
    result = (np.asarray(reference, np.float64) - np.asarray(times, np.float64)) / unit
    bad = np.argwhere(~np.isfinite(result))
    if bad.size:
        raise ValueError(f"times: entry {tuple(bad[0].tolist())} is not finite, or its reference is not")
    longest = np.abs(result).max(initial=0.0)
    if np.spacing(np.float32(longest)) > 0.01:
        raise ValueError(
            f"times: the longest span is {longest:g} units; float32 then resolves {np.spacing(np.float32(longest)):g} "
            f"of a unit, expected 0.01 or finer: choose a nearer reference or a longer unit than {unit:g}"
        )
    return result.astype(np.float32)
