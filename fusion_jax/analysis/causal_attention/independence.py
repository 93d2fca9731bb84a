"""From one attention matrix to p-values: the rows are variables, their products covariances.

Reference and golden: see `causal_attention`; the test is CondIndepParCorr of the authors' `cond_indep_tests.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

LEAST_VARIANCE = 1e-16
ROUNDING = 1e-12  # a correlation that is 1 up to it is 1: rows that are alike in exact arithmetic
WORST = 1e12  # condition of a matrix that is still inverted


def covariance(attention: np.ndarray) -> np.ndarray:
    """C = A A^T in float64, without centring: A holds the total effects of a linear model, row = query = variable."""
    attention = np.asarray(attention, np.float64)
    return attention @ attention.T


def correlation(covariances: np.ndarray) -> np.ndarray:
    """R_ij = C_ij / sqrt(C_ii C_jj).

    Raises:
        ValueError: a variance of at most 1e-16, which is no row of an attention.
    """
    variance = np.diag(covariances)
    if (low := int(variance.argmin())) >= 0 and not variance[low] > LEAST_VARIANCE:
        raise ValueError(
            f"causal_attention: row {low} of the attention has the variance {variance[low]:.1e}; expected rows that "
            f"sum to 1, without the tokens that are masked"
        )
    scale = 1 / np.sqrt(variance)
    return covariances * scale * scale[:, None]


def partial_correlation(r: np.ndarray, i: int, j: int, given: Sequence[int] = ()) -> float:
    """The correlation of i and j given others; 1 where one of the three pairs of |Z| <= 1 is one and the same.

        |Z| = 0: R_ij        |Z| = 1: (R_ij - R_iz R_jz) / sqrt((1 - R_iz^2) (1 - R_jz^2))
        |Z| > 1: -P_01 / sqrt(|P_00 P_11|), P the inverse of R on (i, j, Z)

    Raises:
        numpy.linalg.LinAlgError: |Z| > 1 and rows are (nearly) copies of each other or of sums of others: there is no
            such number. A pseudo-inverse would make one up.
    """
    if not given:
        return float(r[i, j])
    if len(given) == 1:
        z = given[0]
        if max(r[i, z], r[j, z]) >= 1 - ROUNDING:
            return 1.0
        return float((r[i, j] - r[i, z] * r[j, z]) / np.sqrt((1 - r[i, z] ** 2) * (1 - r[j, z] ** 2)))
    among = [i, j, *given]
    part = r[np.ix_(among, among)]
    if not np.linalg.cond(part) < WORST:
        raise np.linalg.LinAlgError(f"the attention rows {among} are not independent of each other: singular")
    p = np.linalg.inv(part)
    return float(-p[0, 1] / np.sqrt(abs(p[0, 0] * p[1, 1])))


def p_value(r: np.ndarray, i: int, j: int, given: Sequence[int] = (), *, samples: int) -> float:
    """Fisher's test that i and j are independent given others: 2 (1 - Phi(sqrt(S - |Z| - 3) |z|)).

    z = log((1 + rho) / (1 - rho)) / 2. Where |rho| >= 1 it is 0: they are dependent.

    Args:
        samples: S, not the number of tokens: what a correlation was estimated from (the paper: the model's width).
    Raises:
        ValueError: no degree of freedom is left.
    """
    left = samples - len(given) - 3
    if left < 1:
        raise ValueError(
            f"causal_attention: samples={samples} leave no degree of freedom given {len(given)} tokens; expected at "
            f"least {len(given) + 4}"
        )
    rho = partial_correlation(r, i, j, given)
    if abs(rho) >= 1 - (ROUNDING if len(given) < 2 else 0):
        return 0.0
    z = 0.5 * math.log1p(2 * rho / (1 - rho))
    return float(2 * (1 - stats.norm.cdf(abs(math.sqrt(left) * z))))
