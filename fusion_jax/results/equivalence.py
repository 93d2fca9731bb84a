"""Whether two rows are the same but for a margin: two one-sided tests."""

from __future__ import annotations

import dataclasses

import numpy as np

from fusion_jax.results.differences import difference
from fusion_jax.results.paired import Estimate
from fusion_jax.results.row import Row


@dataclasses.dataclass(frozen=True)
class Equivalence:
    """The answer of two one-sided tests (Schuirmann, 1987), with the variance that a comparison of the rows has.

    Attributes:
        margin: the rows count as the same where the true difference lies within (-margin, margin).
        seeds: those that both have.
        difference: mean of a - b in the metric's own units.
        low, high: its 90 % interval, which lies within the margin exactly where p < .05.
        p: the larger one of the two; NaN where nothing is known.
        method: of the variance, in words.
    """

    a: Row
    b: Row
    metric: str
    margin: float
    seeds: tuple[int, ...]
    difference: float
    low: float
    high: float
    p: float
    method: str

    @property
    def equivalent(self) -> bool:
        """Whether both tests reject at the level .05."""
        return bool(self.p < 0.05)


def equivalent(a: Row, b: Row, metric: str, margin: float) -> Equivalence:
    """Whether |a - b| < margin, in the metric's own units; paired and corrected as `compare.compared` is.

    Raises:
        ValueError: a margin that is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"equivalent: margin={margin!r}; expected a number above 0, in units of {metric}")
    found = difference(a, b, metric)
    low, high = found.interval(0.90)
    p = (
        found.p(lambda estimate: float(np.minimum(1, 2 * outside(estimate, margin)))) / 2
    )  # the looks' levels are two-sided
    return Equivalence(a, b, metric, margin, found.seeds, found.estimate.mean, low, high, p, found.variance.method)


def outside(estimate: Estimate, margin: float) -> float:
    """p of the true mean lying outside of (-margin, margin): the larger one of the two one-sided tests."""
    return max(estimate.above(-margin), estimate.below(margin))
