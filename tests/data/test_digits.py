"""The default data set: shapes, sameness, and the figures that logistic regression reaches on it."""

import numpy as np
import pytest

from fusion_jax import data
from fusion_jax.data import digits
from fusion_jax.data.graphs import standardise
from tests.data.linear import accuracy, agreement, averaged


@pytest.fixture(scope="module")
def dataset():
    return data.load("digits")


def test_shapes_and_graph(dataset):
    shapes = {name: x.shape for name, x in dataset.features.items()}
    assert shapes == {"pixels": (1797, 64), "fourier": (1797, 40), "gradients": (1797, 32), "profiles": (1797, 16)}
    assert dataset.mask.all() and dataset.target.num_outputs == 10
    split = dataset.split(0)
    assert (len(split.train), len(split.val), len(split.test)) == (20, 20, 1757)
    g = dataset.graphs["knn"]
    assert len(np.unique(g.receivers)) == 1797
    assert agreement(g, dataset.target.labels) == pytest.approx(0.939, abs=0.003)


def test_two_loads_are_equal(dataset):
    again = data.load("digits")
    for name, x in dataset.features.items():
        assert np.array_equal(x, again.features[name])
    assert np.array_equal(dataset.graphs["knn"].senders, again.graphs["knn"].senders)
    assert np.array_equal(dataset.split(3).train, again.split(3).train)
    assert dataset.provenance == again.provenance


def test_options():
    d = data.load("digits", train_per_class=1, neighbours=3)
    assert (len(d.split(0).train), len(d.split(0).val)) == (10, 10)
    d = data.load("digits", train_per_class=1, val_per_class=5, neighbours=3)
    assert (len(d.split(0).train), len(d.split(0).val)) == (10, 50)
    assert 3 * 1797 <= len(d.graphs["knn"].senders) <= 6 * 1797


def test_missing_views(dataset):
    d = data.load("digits", missing=0.5)
    assert np.array_equal(d.mask, data.load("digits", missing=0.5).mask)
    assert d.mask.any(1).all() and np.abs(d.mask.mean(0) - 0.516).max() < 0.03  # 1/2, and 1/16 gets one back
    for m, (name, x) in enumerate(d.features.items()):
        there = d.mask[:, m]
        assert not x[~there].any() and np.array_equal(x[there], dataset.features[name][there])
    assert agreement(d.graphs["knn"], d.target.labels) == pytest.approx(0.798, abs=0.003)
    with pytest.raises(ValueError, match=r"missing=1, expected a number in \[0, 1\)"):
        data.load("digits", missing=1)


def test_other_images_are_refused(monkeypatch):
    monkeypatch.setattr(digits, "CHECKSUM", "0" * 64)
    with pytest.raises(ValueError, match="digits are not the known ones: sha256 [0-9a-f]{64}, expected 0000"):
        data.load("digits")


def test_views_are_of_the_image(dataset):
    pixels = dataset.features["pixels"].reshape(-1, 8, 8)
    profiles = dataset.features["profiles"]
    np.testing.assert_allclose(profiles[:, :8].sum(1), pixels.sum((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(profiles[:, 8:], pixels.sum(2), rtol=1e-5)
    np.testing.assert_allclose(dataset.features["fourier"][:, 0], pixels.sum((1, 2)), rtol=1e-5)  # frequency 0
    gy, gx = np.zeros_like(pixels), np.zeros_like(pixels)
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1)))
    gy[:], gx[:] = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1], padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    total = dataset.features["gradients"].sum(1)
    np.testing.assert_allclose(total, np.hypot(gx, gy).sum((1, 2)), rtol=1e-4)


def test_figures_of_logistic_regression(dataset):
    """Means over 10 draws of two labels a class; a draw has a standard deviation of 0.02 to 0.05."""
    y, features = dataset.target.labels, dataset.features
    together = np.concatenate(list(features.values()), axis=1)
    scores = []
    for seed in range(10):
        s = dataset.split(seed)
        twice = averaged(standardise(together, s.train), dataset.graphs["knn"])
        scores.append(
            [accuracy(x, y, s.train, s.test) for x in (*features.values(), together)]
            + [accuracy(twice, y, s.train, s.test, scale=False)]
        )
    np.testing.assert_allclose(np.mean(scores, 0), [0.68, 0.55, 0.60, 0.65, 0.76, 0.88], atol=0.03)


def test_its_numbers_stay():
    """Finished results are of these: another fingerprint makes it another data set."""
    assert data.load("digits").fingerprint.startswith("4c5047dd2619")
    assert data.load("digits", missing=0.3).fingerprint.startswith("e02d427022ff")
