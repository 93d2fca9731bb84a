"""Amounts where the truth is planted, their nulls, and shuffles within classes."""

import numpy as np
import pytest

from fusion_jax import data
from fusion_jax.data.card.amounts import discretely, gaussian, line, scored, within
from fusion_jax.data.card.sources import sources
from tests.data.card.truth import planted

KNOBS = [(0.8, 0, 0), (0, 0.8, 0), (0, 0, 0.8), (0.5, 0.5, 0.5), (0, 0, 0)]


@pytest.mark.parametrize("knobs", KNOBS, ids=map(str, KNOBS))
def test_planted_amounts_of_synthetic_are_found(knobs):
    """With 1800 training rows to 0.13 bits, and from below but for what one draw of 1800 rows adds."""
    redundant, unique, synergy = knobs
    made = data.load(
        "synthetic", modalities=2, nodes=6000, redundant=redundant, unique=unique, synergy=synergy, degree=0
    )
    s = sources(made)
    found = scored(s.own["m0"], s.own["m1"], s.labels, s.classes).amounts()
    for name, bits in planted(3, *knobs).items():
        assert found[name] == pytest.approx(bits, abs=0.14), name
        assert found[name] < bits + 0.02, name
    parts = ("redundant", "unique a", "unique b", "additive", "interaction")
    assert sum(found[name] for name in parts) == pytest.approx(found["joint"])
    assert found["beyond a"] == pytest.approx(found["joint"] - found["information a"])


def told(lines):
    return {one["amount"]: one for one in lines}


def xor(rows=240):
    """Two signs whose product is the class, with noise."""
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], size=(2, rows))
    labels = (signs[0] * signs[1] > 0).astype(int)
    noise = rng.normal(size=(2, rows, 2))
    a, b = (np.stack([s, 0 * s], 1) + 0.3 * e for s, e in zip(signs, noise, strict=True))
    return a, b, labels, signs


def test_an_interaction_has_a_small_p_and_what_is_independent_given_the_class_has_none():
    a, b, labels, signs = xor()
    found = told(gaussian(a, b, labels, 2, 39))
    assert found["interaction"]["corrected"] > 0.6 and found["interaction"]["p"] == 1 / 40
    assert 0 < found["interaction"]["null"] < 0.01  # both sources shuffled apart within classes: next to nothing
    assert found["additive"]["corrected"] < 0.02 and found["redundant"]["corrected"] < 0.02
    apart = told(gaussian(a + labels[:, None], b[within(labels, np.random.default_rng(1))], labels, 2, 39))
    assert apart["interaction"]["corrected"] < 0.03 and apart["unique a"]["p"] == 1 / 40
    symbols = (signs > 0).astype(int)
    clear = told(discretely(*symbols, labels, 39))
    assert clear["synergy"]["corrected"] > 0.9 and clear["synergy"]["p"] == 1 / 40
    assert clear["redundant"]["corrected"] < 0.02


def test_without_information_p_is_not_small_more_often_than_it_says():
    small = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = told(gaussian(*rng.normal(size=(2, 40, 2)), np.arange(40) % 2, 2, 19, seed))
        small += found["joint"]["p"] <= 0.05
    assert small <= 4  # of a binomial with .05 more has probability .003


def test_a_line_takes_the_mean_of_chance_off():
    assert line("x", 0.5, np.array([0.1, 0.3, 0.6, 0.0])) == dict(
        amount="x", bits=0.5, null=0.25, corrected=0.25, p=0.4
    )
    assert line("x", 0.1, np.array([0.3]))["corrected"] == 0 and line("x", 0.1, np.array([-0.3]))["corrected"] == 0.1


def test_shuffles_within_classes_keep_the_class():
    labels = np.arange(50) % 3
    order = within(labels, np.random.default_rng(0))
    assert (
        np.array_equal(labels[order], labels)
        and sorted(order) == list(range(50))
        and not np.array_equal(order, range(50))
    )
