"""The time-dependent AUC of survival.

It agrees with scikit-survival's `cumulative_dynamic_auc`, which is not needed here.
"""

from __future__ import annotations

import numpy as np

from fusion_jax.metrics.base import Metric
from fusion_jax.metrics.c_index import below, read


def auc_at(t: float, risk: np.ndarray, time: np.ndarray, event: np.ndarray) -> float:
    """AUC(t) of events until t against those still at risk after t, cases weighted by 1 / G(their time).

    G is the Kaplan-Meier estimate of not being censored, on the same rows (Uno et al. 2007). NaN without a case
    or a control.
    """
    case, control = event & (time <= t), time > t
    if not case.any() or not control.any():
        return float("nan")
    weight = 1 / kaplan_meier(time, event, time[case], censoring=True)
    return float((weight * below(risk[case], risk[control])).sum() / (weight.sum() * control.sum()))


def mean_auc(risk: np.ndarray, time: np.ndarray, event: np.ndarray) -> float:
    """AUC(t) at every event time that has someone left behind it, averaged with the drop of survival there.

    That is Lambert and Chevret's summary, the integral of AUC(t) over the Kaplan-Meier curve, without a grid
    to choose. NaN where there is no such time.
    """
    times = np.unique(time[event])
    times = times[times < time.max()] if times.size else times
    if not times.size:
        return float("nan")
    drop = -np.diff(np.concatenate([[1.0], kaplan_meier(time, event, times)]))
    return float(np.sum(drop * [auc_at(t, risk, time, event) for t in times]) / drop.sum())


def kaplan_meier(time: np.ndarray, event: np.ndarray, at: np.ndarray, *, censoring: bool = False) -> np.ndarray:
    """Kaplan-Meier estimate of P(T > t) at the times `at`; of the censoring time if `censoring`.

    Rows censored at t are at risk of an event at t, rows with an event at t are not at risk of censoring there.
    """
    times, first = np.unique(time, return_inverse=True)
    count = np.bincount(first, minlength=len(times))
    events = np.bincount(first, weights=event, minlength=len(times))
    at_risk = len(time) - np.concatenate([[0], np.cumsum(count)[:-1]])
    ended = events
    if censoring:
        at_risk, ended = at_risk - events, count - events
    survival = np.cumprod(1 - ended / np.maximum(at_risk, 1))
    return np.concatenate([[1.0], survival])[np.searchsorted(times, at, "right")]


class AucSurvival(Metric):
    """`mean_auc`, NaN where there is no event with someone left behind it."""

    name = "auc"
    heading = "AUC"
    tasks = ("survival",)
    fraction = True
    pairs = True
    rank = 40

    def __call__(self, rows):
        return mean_auc(*read(rows))
