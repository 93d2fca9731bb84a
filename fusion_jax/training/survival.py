"""Metrics of survival: Harrell's concordance and the time-dependent AUC, on the host, with NumPy.

Both agree with scikit-survival (`concordance_index_censored`, `cumulative_dynamic_auc`), which is not needed here.
"""

from __future__ import annotations

import numpy as np


def evaluate(risk: np.ndarray, time: np.ndarray, event: np.ndarray) -> dict[str, float]:
    """c_index and auc of a risk (larger: earlier event); NaN where no pair can be compared.

    Args:
        risk: float [N]; any increasing function of it gives the same.
        time: float [N], > 0, until event or censoring.
        event: bool [N], true where the event was seen.
    Raises:
        ValueError: lengths that differ, times not > 0, risks not finite, events that are not bool.
    """
    risk, time, event = np.asarray(risk, np.float64), np.asarray(time, np.float64), np.asarray(event)
    _check(risk, time, event)
    return dict(c_index=concordance(risk, time, event), auc=mean_auc(risk, time, event))


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
        concordant += _below(early, late).sum()
        pairs += len(early) * len(late)
    return concordant / pairs if pairs else float("nan")


def _below(of: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For every entry of `of` how many of `among` lie below it, equal ones counting 1/2."""
    among = np.sort(among)
    return (np.searchsorted(among, of, "left") + np.searchsorted(among, of, "right")) / 2


def auc_at(t: float, risk: np.ndarray, time: np.ndarray, event: np.ndarray) -> float:
    """AUC(t) of events until t against those still at risk after t, cases weighted by 1 / G(their time).

    G is the Kaplan-Meier estimate of not being censored, on the same rows (Uno et al. 2007). NaN without a case
    or a control.
    """
    case, control = event & (time <= t), time > t
    if not case.any() or not control.any():
        return float("nan")
    weight = 1 / kaplan_meier(time, event, time[case], censoring=True)
    return float((weight * _below(risk[case], risk[control])).sum() / (weight.sum() * control.sum()))


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
