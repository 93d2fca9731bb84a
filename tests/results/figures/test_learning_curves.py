"""Learning curves: means of the seeds that train, and their spread."""

import numpy as np

from fusion_jax.results import tables
from fusion_jax.results.figures import learning_curves
from fusion_jax.results.rendering import table as shared
from tests.drawn import NEEDS, inside

pytestmark = NEEDS


def test_curves_are_means_of_the_seeds_that_train_with_their_deviation(stored):
    rows = tables.rows(stored)
    epochs, values, spread = learning_curves.curve(stored, rows[1], "train_loss")
    np.testing.assert_array_equal(epochs, np.arange(4), "one seed of three trains on: no mean")
    np.testing.assert_allclose(values, 11.0 + np.arange(4))
    np.testing.assert_allclose(spread, 1.0)
    figure = learning_curves.figure(stored, [shared.of(rows)])
    assert inside(figure) and [len(ax.lines) for ax in figure.axes] == [2, 2]
