"""MATLAB files of views: cells become modalities in their order, labels count from 0."""

import numpy as np
import pytest
from scipy.io import savemat

from fusion_jax.data import _views


def write(path, views):
    cells = np.empty((1, len(views)), object)
    for i, x in enumerate(views):
        cells[0, i] = x
    savemat(path, {"X": cells, "Y": np.array([[1], [2], [2]], np.uint8)})
    return path


def test_cells_are_modalities_in_their_order(tmp_path):
    rng = np.random.default_rng(0)
    views = [rng.normal(size=(3, 4)), rng.integers(0, 60000, (3, 2)).astype(np.uint16)]
    features, labels = _views.cells(write(tmp_path / "two.mat", views), ("second", "first"))
    assert list(features) == ["second", "first"] and labels.tolist() == [0, 1, 1] and labels.dtype == np.int32
    for x, given in zip(features.values(), views, strict=True):
        assert x.dtype == np.float32 and np.array_equal(x, given.astype(np.float32))


def test_another_number_of_views_than_names(tmp_path):
    with pytest.raises(ValueError, match="zip"):
        _views.cells(write(tmp_path / "one.mat", [np.zeros((3, 1))]), ("a", "b"))
