"""How many seeds a comparison needs: the power of the paired t test, corrected as the test itself is."""

from __future__ import annotations

import numpy as np
from scipy import special

LARGEST = 10**6


def power(effect: float, n: int, ratio: float = 0.0, level: float = 0.05) -> float:
    """Probability that a two-sided t test of n differences rejects, where their true mean is `effect` deviations.

    Args:
        ratio: what the variance of the mean holds beside s^2 / n, in s^2 (see `results.paired.estimate`).
    """
    if n < 2:
        return 0.0
    at, shift = -special.stdtrit(n - 1, level / 2), abs(effect) / np.sqrt(1 / n + ratio)
    wrong_side = np.nan_to_num(special.nctdtr(n - 1, shift, -at))  # NaN where it is 0 but for rounding
    return float(1 - special.nctdtr(n - 1, shift, at) + wrong_side)


def needed(effect: float, ratio: float = 0.0, level: float = 0.05, wanted: float = 0.8) -> int | None:
    """The smallest number of seeds with the `wanted` power at an effect d_z.

    None where the effect is 0 or not known, and where no number of seeds has it: splits that overlap, or test rows that
    are fixed, leave a part of the variance that more seeds do not take away.
    """
    if not np.isfinite(effect) or effect == 0:
        return None
    z = -special.ndtri(level / 2) - special.ndtri(1 - wanted)
    room = (effect / z) ** 2 - ratio  # 1 / n must be about that
    if room <= 1 / LARGEST:
        return None
    low, high = 1, max(3, int(1 / room))
    while power(effect, high, ratio, level) < wanted:
        low, high = high, 2 * high
        if high > LARGEST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, ratio, level) >= wanted else (middle, high)
    return high
