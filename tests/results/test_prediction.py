"""Predictions of several seeds in a line."""

import numpy as np
import pytest

from fusion_jax.results.prediction import Prediction


def said(each, kind, names=()):
    each = np.asarray(each, float)
    about = dict(kind=kind, level="node", num_outputs=each.shape[-1])
    ids = np.array([f"n{i}" for i in range(each.shape[1])], dtype=object)
    return Prediction(ids, tuple(range(len(each))), each, None, about, names)


def test_classes_are_counted_with_how_sure_their_prediction_is():
    logits = np.log([[[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], [[0.7, 0.3], [0.2, 0.8], [0.1, 0.9]]])
    wanted = "3 rows predicted by 2 seeds: well 2 (67%), ill 1 (33%); mean confidence 0.80"
    assert said(logits, "classes", ("ill", "well")).summary() == wanted
    many = said(np.eye(12)[None], "classes").summary()
    assert "0 1 (8%), " in many and ", 2 more; mean confidence" in many


@pytest.mark.parametrize("number", [0, 3])
def test_values_have_a_mean_and_a_range(number):
    text = said(np.arange(number, dtype=float).reshape(1, number, 1), "values").summary()
    assert text == f"{number} rows predicted by 1 seed" + (": mean 1, from 0 to 2" if number else "")
