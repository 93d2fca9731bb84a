"""Stars whose middle is asked for what its neighbours are examples of: edges, masks, moments, the best estimator."""

import numpy as np
import pytest

from fusion_jax import data
from fusion_jax.data.icl_linear_regression import draw, ridge

FEW = dict(stars=12, context=5, dim=3)


def test_only_the_context_leads_to_its_own_query_which_has_0_for_y():
    made = data.load("icl_linear_regression", **FEW, causal=True)
    graph, queries = made.graphs["stars"], np.arange(5, 72, 6)
    assert (np.bincount(graph.receivers, minlength=72)[queries] == 5).all() and len(graph.senders) == 60
    assert (graph.senders // 6 == graph.receivers // 6).all() and not np.isin(graph.senders, queries).any()
    np.testing.assert_array_equal(np.flatnonzero(made.labelled), queries)
    assert made.mask.all() and not made.features["y"][queries].any()
    drawn = draw(**FEW, causal=True)
    np.testing.assert_allclose(made.target.values[queries, 0], drawn.y[:, -1], rtol=1e-6)
    np.testing.assert_allclose(made.features["y"].reshape(12, 6)[:, :-1], drawn.y[:, :-1], rtol=1e-6)
    np.testing.assert_allclose(made.features["x"].reshape(12, 6, 3), drawn.x, rtol=1e-6)
    causal = made.graphs["causal"]
    assert (causal.senders < causal.receivers).all() and len(causal.senders) == 12 * 15
    parts = made.splits.draw(0)
    np.testing.assert_array_equal(np.sort(np.concatenate([parts.train, parts.val, parts.test])), queries)


def test_moments_are_those_that_are_stated():
    drawn = draw(stars=4000, context=4, dim=3, noise=0.3, correlation=-0.5)
    x = drawn.x.reshape(-1, 3)
    expected = (-0.5) ** np.abs(np.subtract.outer(np.arange(3), np.arange(3)))
    np.testing.assert_allclose(x.T @ x / len(x), expected, atol=0.03)
    np.testing.assert_allclose(drawn.beta.T @ drawn.beta / 4000, np.eye(3) / 3, atol=0.03)
    rest = drawn.y - np.einsum("gld,gd->gl", drawn.x, drawn.beta)
    assert rest.var() == pytest.approx(0.3, abs=0.01)


def test_ridge_regression_is_the_best_of_ridges():
    """The mean given the examples: no other penalty does better, but for chance."""
    drawn = draw(stars=4000, context=8, dim=4, noise=0.4)
    x, y, query, asked = drawn.x[:, :-1], drawn.y[:, :-1], drawn.x[:, -1], drawn.y[:, -1]

    def loss(noise):
        return ((ridge(x, y, query, noise) - asked) ** 2).mean()

    assert loss(0.4) < min(loss(0.1), loss(1.6))


def test_its_options_decide_and_are_checked():
    made, again, other = (data.load("icl_linear_regression", **FEW, seed=seed) for seed in (0, 0, 1))
    assert made.fingerprint == again.fingerprint != other.fingerprint
    for option, value, message in (
        ("stars", 2, "a whole number, at least 3"),
        ("context", 0, "a whole number, at least 1"),
        ("noise", -0.1, r"a number in \[0, inf\)"),
        ("correlation", -1.0, r"a number in \(-1, 1\)"),
        ("train", 1.0, r"a number in \[0, 1\)"),
        ("causal", 1, "true or false"),
    ):
        with pytest.raises(ValueError, match=f"data set 'icl_linear_regression'.*{option}={value}.*{message}"):
            data.load("icl_linear_regression", **{option: value})
