"""Times as spans that float32 can hold."""

import numpy as np
import pytest

from fusion_jax.data._times import spans


def test_spans_subtract_before_they_round():
    """Half a second in times of 1.7e9 seconds, which float32 rounds to 128 seconds."""
    times = 1.7e9 + np.array([0.0, 0.5, 86400.0])
    np.testing.assert_array_equal(spans(times, 1.7e9 + 86400), np.float32([86400, 86399.5, 0]))
    np.testing.assert_allclose(spans(times, 1.7e9, 86400.0), [0, -0.5 / 86400, -1], rtol=1e-6)
    assert np.float32(times)[1] == np.float32(times)[0]


def test_spans_refuse_what_float32_cannot_hold():
    with pytest.raises(ValueError, match="finite"):
        spans(np.array([1.0, np.nan]), 0.0)
    with pytest.raises(ValueError, match="nearer reference or a longer unit"):
        spans(np.array([0.0, 1.7e9]), 0.0)
    with pytest.raises(ValueError, match="unit"):
        spans(np.zeros(1), 0.0, -1.0)


def test_the_reference_may_be_one_a_time_and_the_bound_is_a_hundredth_of_the_unit():
    np.testing.assert_array_equal(spans(np.array([[1, 2], [3, 5]]), np.array([[4], [9]])), [[3, 2], [6, 4]])
    assert spans(np.array([1, 2]), 3).dtype == np.float32 and spans(np.zeros((0, 2)), 1.0).shape == (0, 2)
    longest = 2.0**17 - 1  # beyond it float32 has steps of 1 / 64
    assert spans(np.array([0.0]), longest)[0] == longest == -spans(np.array([longest]), 0.0)[0]
    for times, reference in ((0.0, longest + 2), (longest + 2, 0.0)):
        with pytest.raises(ValueError, match=r"the longest span is 131073 units; float32 then resolves 0.015625"):
            spans(np.array([times]), reference)
    with pytest.raises(ValueError, match=r"times: entry \(1, 0\) is not finite"):
        spans(np.zeros((2, 1)), np.array([[0], [np.inf]]))
    with pytest.raises(ValueError, match="unit=0.0, expected a number > 0"):
        spans(np.zeros(1), 0.0, 0.0)
