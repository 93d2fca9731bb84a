"""The planted phase is there, it is all there is, and long times keep it."""

import itertools
import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from fusion_jax import data
from fusion_jax.data.synthetic_temporal import bayes_accuracy


def test_bayes_accuracy_equals_the_sum_over_all_slots():
    for classes, degree, signal in ((2, 3, 0.4), (3, 4, 0.7), (4, 2, 0.0)):
        total = 0.0
        for slots in itertools.product(range(classes), repeat=degree):
            p = [math.prod(signal * (s == y) + (1 - signal) / classes for s in slots) for y in range(classes)]
            total += max(p) / classes
        assert bayes_accuracy(classes=classes, degree=degree, signal=signal) == pytest.approx(total, rel=1e-12)
    assert bayes_accuracy(signal=0.6, times="nodes") == pytest.approx(0.6 + 0.4 / 4)


def slots(d, period=7.0, classes=4):
    """Number of events in every slot [N, C], from the spans alone."""
    graph = d.graphs["events"]
    slot = (graph.edges["time"].astype(np.float64) % period // (period / classes)).astype(int)
    counts = np.zeros((d.num_nodes, classes))
    np.add.at(counts, (graph.receivers, slot), 1)
    return counts


def test_the_fullest_slot_is_as_good_as_the_bound_says():
    d = data.load("synthetic_temporal", nodes=6000)
    counts = slots(d)
    best = counts == counts.max(1, keepdims=True)  # ties: each of them is right equally often
    guess = (best / best.sum(1, keepdims=True))[np.arange(6000), d.target.labels].mean()
    assert guess == pytest.approx(bayes_accuracy(), abs=0.015)


def test_nothing_else_tells():
    """Features and slow functions of time are at chance or little above, a wrong period far from the right one."""
    d = data.load("synthetic_temporal", nodes=4000, seed=1)
    split, y = d.split(0), d.target.labels
    graph = d.graphs["events"]
    mean = np.bincount(graph.receivers, graph.edges["time"], d.num_nodes) / 6
    for x, most in ((d.features["noise"], 0.29), (mean[:, None], 0.32), (slots(d, period=10.3), 0.45)):
        assert LogisticRegression().fit(x[split.train], y[split.train]).score(x[split.test], y[split.test]) < most
    near = KNeighborsClassifier(100).fit(mean[split.train, None], y[split.train])
    assert near.score(mean[split.test, None], y[split.test]) < 0.32


def test_times_of_nodes():
    d = data.load("synthetic_temporal", nodes=6000, times="nodes", signal=0.5)
    assert d.features["noise"].shape == (6000, 9) and not d.graphs["events"].edges
    t = d.features["noise"][:, -1]
    assert t.min() >= 0 and t.max() < 42
    guess = (t % 7 // 1.75).astype(int)
    assert (guess == d.target.labels).mean() == pytest.approx(bayes_accuracy(signal=0.5, times="nodes"), abs=0.02)


def test_every_node_receives_its_events():
    d = data.load("synthetic_temporal", nodes=50, degree=3)
    assert np.array_equal(np.bincount(d.graphs["events"].receivers), np.full(50, 3))
    assert d.graphs["events"].edges["time"].dtype == np.float32
    assert d.provenance.checksum != data.load("synthetic_temporal", nodes=50, degree=3, seed=1).provenance.checksum


@pytest.mark.parametrize(
    "wrong", [dict(classes=1), dict(degree=0), dict(signal=1.5), dict(period=0.0), dict(times="edge"), dict(train=-0.1)]
)
def test_options_out_of_range(wrong):
    with pytest.raises(ValueError, match="synthetic_temporal"):
        data.load("synthetic_temporal", **wrong)


def test_its_numbers_stay():
    """Finished results are of these: another fingerprint makes it another data set."""
    assert data.load("synthetic_temporal").fingerprint.startswith("45c347d50f88")
    assert data.load("synthetic_temporal", times="nodes").fingerprint.startswith("fb932701402b")


def test_the_ends_of_the_ranges_are_in_them():
    d = data.load("synthetic_temporal", nodes=6, classes=2, degree=1, dim=1, signal=0, cycles=1, period=0.5)
    assert d.features["noise"].shape == (6, 1) and (d.graphs["events"].edges["time"] < 0.5).all()
    assert data.load("synthetic_temporal", nodes=8, classes=4, signal=1).num_nodes == 8
