"""Exact transport on the host: what is least, what stays within a class, and what is known of Gaussians."""

import itertools

import numpy as np
import pytest
import scipy.linalg

from fusion_jax.nn.transport import gaussian_distance, partners, squared_distance, within_classes


def test_no_other_pairing_costs_less():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6, 3))
    least = min(squared_distance(a, b[list(p)]) for p in itertools.permutations(range(6)))
    assert squared_distance(a, b[partners(a, b)]) == pytest.approx(least, rel=1e-12)


def test_squares_of_distances_are_what_is_least():
    """The sum of distances is less the other way round, 2.06 and 2.12; that of squares is 4.25 there and 2.25 here."""
    a, b = np.array([[0.0, 0.5], [1.0, 0.0]]), np.array([[1.0, 0.0], [2.0, 0.0]])
    assert partners(a, b).tolist() == [0, 1]


def test_every_class_is_matched_with_itself_and_each_of_its_points_once():
    """Points of the two sides stand in another order, and each class would rather have the other's."""
    rng = np.random.default_rng(1)
    of_a, of_b = np.array([0, 1, 0, 1, 1, 0]), np.array([1, 1, 0, 0, 1, 0])
    a = rng.normal(size=(6, 2)) + 5 * of_a[:, None]
    b = rng.normal(size=(6, 2)) - 5 * of_b[:, None]
    found = within_classes(a, b, of_a, of_b)
    np.testing.assert_array_equal(of_b[found], of_a)
    assert sorted(found) == list(range(6))
    for c in (0, 1):
        own = of_a == c
        here, there = a[own], b[of_b == c]
        assert squared_distance(here, b[found[own]]) == squared_distance(here, there[partners(here, there)])


def test_classes_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match="class 0 has 2 points here and 1 there"):
        within_classes(np.zeros((3, 1)), np.zeros((3, 1)), np.array([0, 0, 1]), np.array([0, 1, 1]))


def test_gaussians_that_commute_differ_by_their_deviations():
    m, s, t = np.array([1.0, -2.0]), np.array([0.5, 2.0]), np.array([1.5, 1.0])
    found = gaussian_distance(m, np.diag(s**2), np.zeros(2), np.diag(t**2))
    assert found == pytest.approx(np.sqrt((m**2).sum() + ((s - t) ** 2).sum()))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(2, 2)))[0]
    other = gaussian_distance(m @ turn.T, turn @ np.diag(s**2) @ turn.T, np.zeros(2), turn @ np.diag(t**2) @ turn.T)
    assert other == pytest.approx(found)


def test_a_gaussian_is_at_no_distance_from_itself_and_the_order_does_not_matter():
    rng = np.random.default_rng(2)
    s, t = (x @ x.T for x in rng.normal(size=(2, 3, 3)))
    m = rng.normal(size=3)
    assert gaussian_distance(m, s, m, s) == pytest.approx(0, abs=1e-6)
    assert gaussian_distance(m, s, 0 * m, t) == pytest.approx(gaussian_distance(0 * m, t, m, s), rel=1e-9)
    root = scipy.linalg.sqrtm(t)
    trace = np.trace(s + t - 2 * scipy.linalg.sqrtm(root @ s @ root)).real
    assert gaussian_distance(m, s, 0 * m, t) == pytest.approx(np.sqrt((m**2).sum() + trace), rel=1e-9)
    flat = np.diag([1.0, 0.0, 0.0])  # as many points as dimensions, or fewer, have such
    assert gaussian_distance(m, flat, m, flat) == pytest.approx(0, abs=1e-6)
