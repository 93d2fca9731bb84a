"""What survival hides, and what it wants of a split."""

import numpy as np
import pytest

from fusion_jax import tasks
from fusion_jax.records import Target

TARGET = Target("survival", time=np.array([3.0, 4, 5], np.float32), event=np.array([True, True, False]))


def test_hidden_times_are_1_without_event():
    hidden = tasks.of(TARGET).hide_unseen(TARGET, np.array([True, False, False]))
    np.testing.assert_array_equal(hidden.time, [3, 1, 1])
    np.testing.assert_array_equal(hidden.event, [True, False, False])
    assert hidden.time.dtype == np.float32 and hidden.event.dtype == bool


def test_training_and_validation_rows_have_an_event():
    task, parts = tasks.of(TARGET), dict(train=np.array([0]), val=np.array([1]), test=np.array([2]))
    task.check_split(TARGET, parts, "here")
    for part in ("train", "val"):
        with pytest.raises(ValueError, match=f"here: the {part} part has no event; expected at least one"):
            task.check_split(TARGET, {**parts, part: np.array([2])}, "here")


def test_there_are_no_class_weights():
    with pytest.raises(ValueError, match="class_weights=True needs a classification target, this one is 'survival'"):
        tasks.of(TARGET).class_weights(TARGET, np.arange(3))
