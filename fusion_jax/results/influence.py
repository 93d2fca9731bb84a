"""How well a metric is known from the test rows it was measured on: intervals from the influence of every row.

Seeds that share their test rows differ by training alone; what another draw of test rows would give, they do not
know. The influence of row i is psi_i = N dT/dw_i at equal weights w of the N rows. On rows drawn anew the metric T
has the variance var(psi) / N (the infinitesimal jackknife, Efron 1982), and the difference of two predictors that of
the difference of their psi: for accuracy this is the comparison of McNemar's table, for the AUC that of DeLong,
DeLong and Clarke-Pearson 1988.
"""

from __future__ import annotations

import numpy as np
from scipy import stats


def half_width(psi: np.ndarray, level: float = 0.95) -> float:
    """Half the interval of a metric (or of a difference) with the influences psi [N], by Student's t with N - 1
    degrees of freedom; infinite for one row, of which nothing is known."""
    n = len(psi)
    if n < 2:
        return float("inf")
    return float(stats.t.ppf((1 + level) / 2, n - 1) * np.std(psi, ddof=1) / np.sqrt(n))


def wilson(share: float, rows: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval (1927) of a share of right rows among `rows`: wide at 0 and 1 too, where var(psi) is 0."""
    z = stats.norm.ppf((1 + level) / 2)
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return float(centre - half), float(centre + half)
