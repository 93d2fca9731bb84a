"""Units of a regression, what it hides, and the dtype in which it is stored."""

import numpy as np

from fusion_jax import tasks
from fusion_jax.records import Target
from fusion_jax.tasks.values import fit_units

TARGET = Target("values", values=np.array([[1, 10], [3, 10], [9, 10]], np.float32), num_outputs=2)


def test_hidden_values_are_0():
    hidden = tasks.of(TARGET).hide_unseen(TARGET, np.array([False, True, False]))
    np.testing.assert_array_equal(hidden.values, [[0, 0], [3, 10], [0, 0]])


def test_units_are_of_the_training_rows_and_of_a_constant_column_its_own_size():
    units = fit_units(TARGET.values, np.array([0, 1]))
    np.testing.assert_array_equal([units.shift, units.scale], [[2, 10], [1, 10]])
    learned = tasks.of(TARGET).learned(TARGET, units)
    np.testing.assert_array_equal(learned.values, [[-1, 0], [1, 0], [7, 0]])
    np.testing.assert_array_equal(units.undo(learned.values), TARGET.values)


def test_values_are_stored_in_float64():
    column = tasks.of(TARGET).columns(TARGET)["values"]
    assert {row.dtype for row in column} == {np.dtype(np.float64)}


def test_a_prediction_is_answered_by_mean_and_deviation_over_the_seeds():
    task = tasks.of("values")
    told = task.told(np.array([[[1.0]], [[2.0]], [[6.0]]]))
    answers = task.answers(told)
    assert answers["prediction"].tolist() == [3.0] and np.isclose(answers["spread"][0], np.std([1, 2, 6], ddof=1))
    assert list(task.answers(told[:1])) == ["prediction"]
    assert list(task.answers(np.ones((2, 1, 2)))) == ["prediction 0", "spread 0", "prediction 1", "spread 1"]
