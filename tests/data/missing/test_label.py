"""What is lost depends on the class, or the value, and within a class on nothing."""

import numpy as np
import pytest

from fusion_jax.data.missing.label import label
from fusion_jax.records import Target
from tests.data.missing.nodes import N, made


def test_of_two_balanced_classes_the_odds_differ_by_twice_the_strength():
    """z is -1 and 1, so that the shares are sigmoid(-s) and sigmoid(s) at a rate of a half."""
    y = np.arange(N) % 2
    nodes = made(target=Target("classes", labels=y, num_outputs=2))
    gone = label(nodes, np.random.default_rng(0), rate=0.5, strength=1.0)
    shares = np.sort([[gone[y == c, m].mean() for m in range(3)] for c in (0, 1)], axis=0)
    np.testing.assert_allclose(shares[1], 1 / (1 + np.exp(-1)), atol=0.03)
    np.testing.assert_allclose(shares[0], 1 / (1 + np.exp(1)), atol=0.03)


def test_the_order_of_the_classes_is_drawn_for_each_modality():
    y = np.arange(N) % 4
    nodes = made(modalities=6, target=Target("classes", labels=y, num_outputs=4))
    gone = label(nodes, np.random.default_rng(0), rate=0.5)
    orders = {tuple(np.argsort([gone[y == c, m].mean() for c in range(4)])) for m in range(6)}
    assert len(orders) > 2


def test_values_decide_too_and_unlabelled_nodes_are_average():
    v = np.random.default_rng(2).normal(size=(N, 1))
    known = np.arange(N) % 2 == 0
    nodes = made(target=Target("values", values=np.where(known[:, None], v + 5, 1e9), num_outputs=1), labelled=known)
    gone = label(nodes, np.random.default_rng(0), rate=0.5, strength=3.0)
    for m in range(3):
        assert abs(np.corrcoef(gone[known, m], v[known, 0])[0, 1]) > 0.5
        np.testing.assert_allclose(gone[~known, m].mean(), 0.5, atol=0.05)


@pytest.mark.parametrize(
    "target",
    [
        Target("classes", labels=np.zeros(3, int), num_outputs=2, level="graph"),
        Target("labels", labels=np.zeros((20, 2), bool), num_outputs=2),
    ],
)
def test_other_targets_are_refused_by_name(target):
    with pytest.raises(ValueError, match=f"predicts {target.words}, expected classes or values of nodes"):
        label(made(20, target=target), np.random.default_rng(0))
