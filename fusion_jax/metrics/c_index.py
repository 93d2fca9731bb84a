"""Harrell's concordance of survival: how often the earlier event has the higher risk.

It agrees with scikit-survival's `concordance_index_censored`, which is not needed here.
"""

from __future__ import annotations

import numpy as np

from fusion_jax.metrics.base import Metric, Scored


def read(rows: Scored) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """risk (larger: earlier event), time and event, [N] each.

    Raises:
        ValueError: lengths that differ, times not > 0, risks not finite, events that are not bool.
    """
    risk, time = np.asarray(rows.prediction[:, 0], np.float64), np.asarray(rows.target.time, np.float64)
    event = np.asarray(rows.target.event)
    _check(risk, time, event)
    return risk, time, event


def _check(risk, time, event):
    if not risk.shape == time.shape == event.shape or risk.ndim != 1:
        shapes = f"{risk.shape}, {time.shape}, {event.shape}"
        raise ValueError(f"survival: shapes of risk, time, event are {shapes}; expected three vectors of one length")
    if event.dtype != bool:
        raise ValueError(f"survival: event is {event.dtype}, expected bool")
    for name, values, good, wanted in (
        ("time", time, np.isfinite(time) & (time > 0), "finite times > 0"),
        ("risk", risk, np.isfinite(risk), "finite values"),
    ):
        bad = np.flatnonzero(~good)
        if bad.size:
            raise ValueError(f"survival: {name}, row {bad[0]} holds {values[bad[0]]}; expected {wanted}")


def concordance(risk: np.ndarray, time: np.ndarray, event: np.ndarray) -> float:
    """Harrell's C: the share of comparable pairs in which the earlier event has the higher risk, ties count 1/2.

    A pair is comparable if the one with the smaller time had the event, or if both times are equal and exactly
    one had it (the other lived longer).
    """
    concordant, pairs = 0.0, 0
    for t in np.unique(time[event]):
        early = risk[event & (time == t)]
        late = risk[(time > t) | ((time == t) & ~event)]
        concordant += below(early, late).sum()
        pairs += len(early) * len(late)
    return concordant / pairs if pairs else float("nan")


def below(of: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For every entry of `of` how many of `among` lie below it, equal ones counting 1/2."""
    among = np.sort(among)
    return (np.searchsorted(among, of, "left") + np.searchsorted(among, of, "right")) / 2


class CIndex(Metric):
    """NaN where no pair can be compared; any increasing function of the risk gives the same."""

    heading = "C-index"
    tasks = ("survival",)
    fraction = True
    pairs = True
    rank = 0

    def __call__(self, rows):
        return concordance(*read(rows))
