"""The metrics of survival against scikit-survival and by hand."""

import numpy as np
import pytest
from sksurv.metrics import concordance_index_censored, cumulative_dynamic_auc
from sksurv.util import Surv

from fusion_jax.metrics.auc_survival import auc_at, kaplan_meier, mean_auc
from fusion_jax.metrics.c_index import concordance
from tests.metrics import made


def both(risk, time, event):
    """Both metrics of a risk [N]."""
    rows = made.survival(risk, time, event)
    return {name: made.value(name, rows) for name in ("c_index", "auc")}


def drawn(seed: int):
    """Risks (some tied), times (tied for odd seeds) and events; the last to be seen is censored, alone."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(8, 60))
    time = rng.integers(1, 12 if seed % 2 else 3000, n).astype(float)
    event = rng.random(n) < (0.2, 0.5, 0.9)[seed % 3]
    event[0], time[-1], event[-1] = True, 4000, False
    return np.round(rng.normal(size=n), 1 if seed % 4 < 2 else 9), time, event


@pytest.mark.parametrize("seed", range(24))
def test_scikit_survival_agrees(seed):
    risk, time, event = drawn(seed)
    ours = both(risk, time, event)
    assert ours["c_index"] == pytest.approx(concordance_index_censored(event, time, risk)[0], rel=1e-12)
    y, times = Surv.from_arrays(event, time), np.unique(time[event])
    scores, mean = cumulative_dynamic_auc(y, y, risk, times)
    assert ours["auc"] == pytest.approx(mean, rel=1e-10)
    np.testing.assert_allclose([auc_at(t, risk, time, event) for t in times], scores, rtol=1e-10)


TIME = np.array([1.0, 2, 3, 4])
SEEN = np.ones(4, bool)
HAND = {
    "right order": ([4, 3, 2, 1], TIME, SEEN, 1.0),
    "wrong order": ([1, 2, 3, 4], TIME, SEEN, 0.0),
    "all risks equal": ([5, 5, 5, 5], TIME, SEEN, 0.5),
    "one tie of risks": ([4, 3, 3, 1], TIME, SEEN, 5.5 / 6),
    "one swap": ([3, 4, 2, 1], TIME, SEEN, 5 / 6),
    "a censored row is compared with earlier events only": ([4, 1, 2, 3], TIME, np.array([1, 0, 1, 1], bool), 3 / 4),
    "two events at one time are not comparable": ([9, 1, 0], np.array([1.0, 1, 2]), np.ones(3, bool), 1.0),
    "an event and a censoring at one time are": ([1, 9], np.array([2.0, 2]), np.array([True, False]), 0.0),
}


@pytest.mark.parametrize("name", HAND)
def test_concordance_by_hand(name):
    risk, time, event, expected = HAND[name]
    assert concordance(np.array(risk, float), time, event) == pytest.approx(expected)


def test_nothing_to_compare_is_nan():
    nobody = both(TIME, TIME, np.zeros(4, bool))
    last = both(TIME, TIME, np.array([0, 0, 0, 1], bool))
    assert all(np.isnan(v) for v in (*nobody.values(), *last.values()))


def test_invariances():
    risk, time, event = drawn(3)
    value = both(risk, time, event)
    assert both(np.exp(risk), time, event) == value
    order = np.random.default_rng(0).permutation(len(time))
    assert both(risk[order], time[order], event[order]) == pytest.approx(value, rel=1e-12)
    opposite = both(-risk, time, event)
    assert [opposite[k] + value[k] for k in value] == pytest.approx([1, 1], rel=1e-12)


def test_auc_limits():
    risk, time, event = drawn(2)
    assert mean_auc(-time, time, event) == pytest.approx(1) and mean_auc(time, time, event) == pytest.approx(0)
    assert mean_auc(np.zeros(len(time)), time, event) == pytest.approx(0.5)
    assert np.isnan(auc_at(time[event].min() - 0.5, risk, time, event)) and np.isnan(auc_at(4000, risk, time, event))


def test_kaplan_meier_by_hand():
    time, event = np.array([1.0, 2, 2, 3, 4]), np.array([1, 1, 0, 0, 1], bool)
    at = np.array([0.5, 1, 2, 3, 3.5, 4])
    np.testing.assert_allclose(kaplan_meier(time, event, at), [1, 0.8, 0.6, 0.6, 0.6, 0])
    # at t = 2 three of four rows are at risk of censoring: the event there comes first
    np.testing.assert_allclose(kaplan_meier(time, event, at, censoring=True), [1, 1, 2 / 3, 1 / 3, 1 / 3, 1 / 3])


BAD = {
    "time zero": (dict(time=TIME - 1), "time, row 0 holds 0.0; expected finite times > 0"),
    "time NaN": (dict(time=np.where(TIME == 3, np.nan, TIME)), "time, row 2 holds nan"),
    "risk infinite": (dict(risk=np.where(TIME == 2, np.inf, TIME)), "risk, row 1 holds inf"),
    "event of numbers": (dict(event=np.ones(4)), "event is float64, expected bool"),
    "lengths": (dict(risk=TIME[:3]), r"\(3,\), \(4,\), \(4,\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    changed, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        both(**{**dict(risk=TIME, time=TIME, event=SEEN), **changed})
