"""The decomposition of Williams and Beer on tables whose amounts are known."""

import itertools

import numpy as np
import pytest

from fusion_jax.data.card import discrete

BITS = list(itertools.product((0, 1), repeat=2))


def table(rule, symbols=BITS):
    """Counts of two uniform symbols and a class that is a function of them."""
    a, b = np.array(symbols).T
    y = np.array([rule(*pair) for pair in symbols])
    return discrete.counted(a, b, y)


@pytest.mark.parametrize(
    "counts,expected",
    [
        (table(lambda a, b: a ^ b), dict(redundant=0, synergy=1)),
        (table(lambda a, b: a, [(0, 0), (1, 1)]), dict(redundant=1, synergy=0)),
        (table(lambda a, b: a), {"redundant": 0, "unique a": 1, "unique b": 0, "synergy": 0}),
        (table(lambda a, b: a & b), {"redundant": 0.31128, "unique a": 0, "synergy": 0.5}),
    ],
    ids=["xor", "copy", "one alone", "and"],
)
def test_known_gates(counts, expected):
    found = discrete.decomposed(counts)
    for name, bits in expected.items():
        assert found[name] == pytest.approx(bits, abs=1e-5)


def test_amounts_by_loops_over_a_random_table():
    p = np.random.default_rng(0).random((3, 2, 4))
    found = discrete.decomposed(p)
    p = p / p.sum()
    y = p.sum((0, 1))

    def specific(q, c):  # q [Z, C]
        return sum(q[z, c] / y[c] * np.log2(q[z, c] / q[z].sum() / y[c]) for z in range(len(q)))

    a, b = p.sum(1), p.sum(0)
    shared = sum(y[c] * min(specific(a, c), specific(b, c)) for c in range(4))
    assert found["redundant"] == pytest.approx(shared)
    joint = sum(y[c] * specific(p.reshape(6, 4), c) for c in range(4))
    parts = found["redundant"] + found["unique a"] + found["unique b"] + found["synergy"]
    assert parts == pytest.approx(joint) and found["joint"] == pytest.approx(joint)


def test_clusters_are_whole_numbers_without_gaps_and_the_same_twice():
    x = np.repeat(np.eye(4), 30, 0) + 0.01 * np.random.default_rng(0).normal(size=(120, 4))
    found = discrete.clusters(x, 2)  # sqrt(120 / 10) is 3
    assert sorted(set(found)) == [0, 1, 2] and np.array_equal(found, discrete.clusters(x, 2))
    assert discrete.clusters(np.zeros((2, 3)), 2).tolist() == [0, 1]
