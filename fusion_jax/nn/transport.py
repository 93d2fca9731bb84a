"""Exact transport between clouds of as many points, on the host: assignments, and the distance of two Gaussians.

Golden `tabular-ot`.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist


def partners(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """int [P]: the bijection p that minimises sum_i |a_i - b_p(i)|^2, of points a, b [P, D]."""
    return linear_sum_assignment(cdist(a, b, "sqeuclidean"))[1]


def squared_distance(a: np.ndarray, b: np.ndarray) -> float:
    """sum_i |a_i - b_i|^2."""
    return float(((a - b) ** 2).sum())


def within_classes(a: np.ndarray, b: np.ndarray, of_a: np.ndarray, of_b: np.ndarray) -> np.ndarray:
    """int [P]: for every point of a the one of b that it is assigned to, class by class.

    Args:
        a, b: [P, D].
        of_a, of_b: int [P], the class of every point; every class has as many points in a as in b.
    Raises:
        ValueError: a class has more points on one side.
    """
    found = np.empty(len(a), int)
    for c in np.union1d(of_a, of_b):
        here, there = np.flatnonzero(of_a == c), np.flatnonzero(of_b == c)
        if len(here) != len(there):
            raise ValueError(f"transport: class {c} has {len(here)} points here and {len(there)} there, expected equal")
        found[here] = there[partners(a[here], b[there])]
    return found


def gaussian_distance(mean_1: np.ndarray, cov_1: np.ndarray, mean_2: np.ndarray, cov_2: np.ndarray) -> float:
    """sqrt(|m1 - m2|^2 + tr(S1 + S2 - 2 (S2^1/2 S1 S2^1/2)^1/2)), the Wasserstein-2 distance of two Gaussians."""
    root = _root(cov_2)
    # rounding may leave a little less than 0, of two that are equal
    spread = np.trace(cov_1 + cov_2) - 2 * np.trace(_root(root @ cov_1 @ root))
    return float(np.sqrt(max(((mean_1 - mean_2) ** 2).sum() + spread, 0.0)))


def _root(a: np.ndarray) -> np.ndarray:
    """The square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = scipy.linalg.eigh((a + a.T) / 2)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
