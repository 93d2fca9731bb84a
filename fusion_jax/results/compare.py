"""Which rows of a table differ: pairs of rows, paired by seed and split, corrected for how many there are.

The unit of replication is the seed with its split, never the node. How the seeds' splits lie decides the test
(`results.differences`); its p is what Holm corrects. Wilcoxon's and the sign-flip test stand beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from fusion_jax import metrics
from fusion_jax.results import families, paired, power
from fusion_jax.results.across import Across, across
from fusion_jax.results.differences import difference
from fusion_jax.results.equivalence import Equivalence, equivalent
from fusion_jax.results.families import BASELINE, is_named, of_one_kind, usable
from fusion_jax.results.row import Row

__all__ = [
    "Across",
    "Comparison",
    "Equivalence",
    "across",
    "adjusted",
    "against",
    "best",
    "compared",
    "equivalent",
    "pairs",
    "seeds_note",
]

LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Row a against row b on one metric, paired by seed and split.

    Attributes:
        seeds: those that both have with a finite value.
        difference: mean of a - b, in the metric's own units (more is better or worse as `metrics.sign` says).
        low, high: its 95 % interval, not corrected for the number of comparisons; NaN where nothing is known.
        method: the test of the interval and of p, in words.
        p: two-sided, of no difference; NaN where nothing is known (fewer than two seeds; all differ by the same and no
            number of test rows says how far that goes by chance). Where seeds were added until comparisons were decided
            p and the interval hold at all looks together.
        adjusted: p after Holm over the family.
        wilcoxon, permutation: p of the signed-rank and of the sign-flip test, over seeds as if they were independent.
        effect: d_z, the mean by the standard deviation of the differences, at least that of one test row, signed as
            they are; NaN where it is not known.
        improvement: share of the seeds in which a is better than b, ties half; improvement_low, improvement_high: its
            95 % interval (Wilson's).
        needed: seeds for 80 % power at the observed effect and level .05 of this one test; None where no number is
            enough (what overlapping splits or fixed rows leave open stays), or the effect is 0 or not known.
        ratio: what the variance of the mean holds beside s^2 / n, in s^2 (see `results.differences`).
        nadeau_bengio: p of the corrected resampled t test, s^2 (1/n + test / training rows), where splits are drawn
            anew, also where there are more test than training rows and p is of another; else NaN.
    """

    a: Row
    b: Row
    metric: str
    seeds: tuple[int, ...]
    difference: float
    low: float
    high: float
    method: str
    p: float
    adjusted: float
    wilcoxon: float
    permutation: float
    effect: float
    improvement: float
    needed: int | None
    improvement_low: float = np.nan
    improvement_high: float = np.nan
    ratio: float = 0.0
    nadeau_bengio: float = np.nan

    @property
    def separated(self) -> bool:
        """Whether the rows differ after the correction, at the level .05."""
        return bool(self.adjusted < LEVEL)

    @property
    def better(self) -> bool:
        """Whether a is better than b, after the correction."""
        return self.separated and metrics.sign(self.metric) * self.difference > 0

    @property
    def worse(self) -> bool:
        """Whether a is worse than b, after the correction."""
        return self.separated and metrics.sign(self.metric) * self.difference < 0


def against(
    rows: Sequence[Row],
    metric: str,
    baseline: str | tuple[str, str] | Row = BASELINE,
    family: Collection[str] | None = None,
) -> list[Comparison]:
    """Every other row against the baseline of its data set, protocol and setting, in the order of the rows.

    The baseline of a row is the one of that name that is placed as the row is, where there is one, else the one before
    the graph layers, else the first of that name; where no row has the name, that of the default name, and where none
    has that either, the first row (`families.baselines`). Where the baseline has no value of the metric nothing is
    compared. Baselines that are placed otherwise are compared with the one before the layers.

    Args:
        baseline: the row itself, a label, or (label, placement) for one placement for all, also "label, placement".
        family: the labels of the rows to compare and to correct for, as a study has said beforehand; None for all.
    Returns:
        corrected by Holm over all comparisons on one data set.
    Raises:
        ValueError: no row has the name of a baseline other than the default, or of one of the family; names the
            nearest.
    """
    run = [row for row in rows if not row.published]
    if family is not None:
        for label in family:
            families.check_known(label, run, "family")
    if baseline != BASELINE and not isinstance(baseline, Row):
        families.check_known(", ".join(baseline) if isinstance(baseline, tuple) else baseline, run, "baseline")
    found = []
    for group in of_one_kind(run):
        named = families.baselines(group, baseline, metric)
        for row in group if named else ():
            if not usable(row, metric):
                continue
            base = families.baseline_of(row, named)
            if row is not base and (family is None or any(is_named(row, label) for label in family)):
                found.append(compared(row, base, metric))
    order = {id(row): i for i, row in enumerate(rows)}
    return adjusted(sorted(found, key=lambda c: order[id(c.a)]))


def pairs(rows: Sequence[Row], metric: str, family: Collection[str] | None = None) -> list[Comparison]:
    """Every row against every later one of its data set, protocol and setting; Holm over all pairs of one data set.

    Args:
        family: the labels of the rows to compare and to correct for; None for all.
    """
    able = [r for r in rows if usable(r, metric) and (family is None or any(is_named(r, label) for label in family))]
    groups = of_one_kind(able)
    return adjusted([compared(a, b, metric) for g in groups for i, a in enumerate(g) for b in g[i + 1 :]])


def compared(a: Row, b: Row, metric: str) -> Comparison:
    """a against b by itself: `adjusted` is its own p."""
    found = difference(a, b, metric)
    d, (low, high), p = found.values, found.interval(), found.p()
    share, share_low, share_high = paired.improvement(metrics.sign(metric) * d)
    variance = found.variance
    return Comparison(
        a,
        b,
        metric,
        found.seeds,
        found.estimate.mean,
        low,
        high,
        variance.method,
        p,
        p,
        paired.wilcoxon(d),
        paired.sign_flip(d),
        found.effect,
        share,
        power.needed(found.effect, found.ratio),
        share_low,
        share_high,
        found.ratio,
        paired.estimate(d, variance.overlap, least=variance.least).p() if variance.overlap else np.nan,
    )


def adjusted(found: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with Holm's adjusted p, those of one data set and metric a family."""
    members: dict[tuple[str, str], list[int]] = {}
    for i, c in enumerate(found):
        members.setdefault((c.a.data, c.metric), []).append(i)
    result = list(found)
    for family in members.values():
        for i, p in zip(family, paired.holm(np.array([found[i].p for i in family])), strict=True):
            result[i] = dataclasses.replace(found[i], adjusted=float(p))
    return result


def best(rows: Sequence[Row], metric: str) -> tuple[int, ...]:
    """Which rows have the best mean of those of their data set, protocol and setting, by number; of equal ones the
    first. Rows with a value that is not finite take no part."""
    able = [row for row in rows if metric in row.values and np.isfinite(row.values[metric]).all()]
    sign, order = metrics.sign(metric), {id(row): i for i, row in enumerate(rows)}
    tops = [max(group, key=lambda row: sign * np.mean(row.values[metric])) for group in of_one_kind(able)]
    return tuple(sorted(order[id(row)] for row in tops))


def seeds_note(n: int) -> str | None:
    """What so few seeds cannot show, None from six on: the signed-rank test has 2^n patterns of signs."""
    if n >= 6:
        return None
    words = {0: "no seed", 1: "one seed", 2: "two seeds", 3: "three seeds", 4: "four seeds", 5: "five seeds"}
    if n < 2:
        return f"with {words[max(n, 0)]} no difference can be tested"
    return f"with {words[n]} no two-sided Wilcoxon test can be below {2 / 2**n:.4f}".replace("0.", ".").rstrip("0")
