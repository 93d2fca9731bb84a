"""Modalities that are made to be missing."""

import numpy as np
import pytest

from fusion_jax.data.masks import missing_at_random


@pytest.mark.parametrize("rate", [0.2, 0.6])
def test_each_is_missing_with_the_rate_and_no_node_lacks_all(rate):
    mask = missing_at_random(20_000, 3, rate, "x")
    assert mask.shape == (20_000, 3) and mask.dtype == bool and mask.any(1).all()
    given_back = rate**3 / 3
    assert np.abs(mask.mean(0) - (1 - rate + given_back)).max() < 5 * np.sqrt(rate * (1 - rate) / 20_000)
    both = (mask[:, 0] & mask[:, 1]).mean()
    assert abs(both - (1 - rate) ** 2) < 5 * np.sqrt(0.25 / 20_000), "independently"
    np.testing.assert_array_equal(mask, missing_at_random(20_000, 3, rate, "y"))


def test_rates():
    assert missing_at_random(50, 2, 0.0, "x").all()
    assert missing_at_random(50, 1, 0.9, "x").all()
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=rf"x: missing={rate}, expected a number in \[0, 1\)"):
            missing_at_random(5, 2, rate, "x")
