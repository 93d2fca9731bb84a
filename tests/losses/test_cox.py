"""What Cox's loss must satisfy, against sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.losses.cox import ORDERS, cox, cumulative_logsumexp
from fusion_jax.records import EVALUATION, Output, Target

N = 11
RNG = np.random.default_rng(0)
RISK = RNG.normal(size=N)
TIME = np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])  # ties of two events, of two censored rows, and mixed
EVENT = np.array([1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 1], bool)
WEIGHT = RNG.uniform(0.5, 2, N)


def loss(risk=RISK, time=TIME, event=EVENT, weight=WEIGHT, **options) -> float:
    return float(traced(risk, time, event, weight, **options))


def traced(risk=RISK, time=TIME, event=EVENT, weight=WEIGHT, **options):
    n = len(risk)
    output = Output(jnp.asarray(risk)[:, None], None, jnp.zeros((n, 1, 1)), None, jnp.ones((n, 1), bool))
    target = Target("survival", time=jnp.asarray(time), event=jnp.asarray(event))
    return cox(output, target, jnp.asarray(weight), context=EVALUATION, **options)


def written_out(risk, by, event, weight) -> float:
    total = 0.0
    for i in np.flatnonzero(event):
        in_set = by >= by[i]
        total -= weight[i] * (risk[i] - np.log((weight * np.exp(risk))[in_set].sum()))
    return total / weight[event].sum()


@pytest.mark.parametrize("order", ORDERS)
def test_the_sum_written_out(order):
    by = TIME if order == "time" else RISK
    assert loss(order=order) == pytest.approx(written_out(RISK, by, EVENT, WEIGHT), rel=1e-12)
    tied = np.round(RISK)  # ties of risks are in each other's set
    by = TIME if order == "time" else tied
    assert loss(tied, order=order) == pytest.approx(written_out(tied, by, EVENT, WEIGHT), rel=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_identities(order):
    value = loss(order=order)
    assert loss(RISK + 7.5, order=order) == pytest.approx(value, rel=1e-12)
    assert loss(weight=5 * WEIGHT, order=order) == pytest.approx(value + np.log(5), rel=1e-12)
    assert loss(event=np.zeros(N, bool), order=order) == 0
    p = np.random.default_rng(1).permutation(N)
    assert loss(RISK[p], TIME[p], EVENT[p], WEIGHT[p], order=order) == pytest.approx(value, rel=1e-12)


def test_equal_risks_leave_the_weight_of_the_risk_set():
    sets = np.array([np.log(WEIGHT[TIME >= t].sum()) for t in TIME])
    expected = (WEIGHT * sets)[EVENT].sum() / WEIGHT[EVENT].sum()
    assert loss(np.full(N, 0.3)) == pytest.approx(expected, rel=1e-12)
    assert loss(np.full(N, 0.3), order="risk") == pytest.approx(np.log(WEIGHT.sum()), rel=1e-12)


def test_times_enter_by_their_order_only_and_not_at_all_by_risk():
    assert loss(time=TIME**3) == pytest.approx(loss(), rel=1e-12)
    assert abs(loss(time=TIME[::-1].copy()) - loss()) > 1e-3
    assert loss(time=TIME[::-1].copy(), order="risk") == loss(order="risk")


def test_event_weight_is_a_weight_of_the_events():
    weighted = WEIGHT * np.where(EVENT, 3.0, 1.0)
    assert loss(event_weight=3.0) == pytest.approx(written_out(RISK, TIME, EVENT, weighted), rel=1e-12)
    assert abs(loss(event_weight=3.0) - loss() - np.log(3)) > 1e-3  # unlike a weight of all rows


@pytest.mark.parametrize("order", ORDERS)
def test_rows_of_weight_zero_are_not_there(order):
    seen = np.arange(N) % 3 != 0
    without = loss(RISK[seen], TIME[seen], EVENT[seen], WEIGHT[seen], order=order)
    run = jax.value_and_grad(lambda risk: traced(risk, weight=np.where(seen, WEIGHT, 0), order=order))
    for fill in (RISK, 1e30, np.nan):
        value, grad = run(jnp.asarray(np.where(seen, RISK, fill)))
        assert value == pytest.approx(without, rel=1e-12)
        assert np.isfinite(grad).all() and not grad[~seen].any() and grad[seen].any()


@pytest.mark.parametrize("order", ORDERS)
def test_gradients(order):
    """Against differences; they add up to 0; nothing overflows; nothing is NaN without an event or a row."""
    run = jax.value_and_grad(lambda risk, weight: traced(risk, weight=weight, order=order))
    _, grad = run(jnp.asarray(RISK), WEIGHT)
    assert abs(grad.sum()) < 1e-12
    h = 1e-6
    for i in (0, 2, 5):
        step = h * (np.arange(N) == i)
        difference = (loss(RISK + step, order=order) - loss(RISK - step, order=order)) / (2 * h)
        assert grad[i] == pytest.approx(difference, abs=1e-7)
    value, grad = run(jnp.asarray(1e4 * RISK), WEIGHT)
    assert np.isfinite(value) and np.isfinite(grad).all()
    value, grad = run(jnp.asarray(RISK), np.zeros(N))
    assert value == 0 and not grad.any()


@pytest.mark.parametrize("n", [1, 2, 9, 10, 198])
def test_cumulative_logsumexp(n):
    a = jnp.asarray(np.random.default_rng(n).normal(size=n) * 500)  # far beyond what exp can hold
    value, pull = jax.vjp(cumulative_logsumexp, a)
    expected, expected_pull = jax.vjp(jax.lax.cumlogsumexp, a)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    g = jnp.asarray(np.random.default_rng(0).normal(size=n))
    np.testing.assert_allclose(pull(g)[0], expected_pull(g)[0], rtol=1e-9, atol=1e-12)


def test_refusals():
    with pytest.raises(ValueError, match="order='size'"):
        loss(order="size")
    with pytest.raises(ValueError, match="event_weight=0.0"):
        loss(event_weight=0.0)
    output = Output(jnp.zeros((2, 2)), None, jnp.zeros((2, 1, 1)), None, jnp.ones((2, 1), bool))
    with pytest.raises(ValueError, match="'classes'"):
        cox(output, Target("classes", labels=jnp.zeros(2, int), num_outputs=2), jnp.ones(2), context=EVALUATION)
