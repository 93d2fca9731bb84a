"""Learning curves: means of the seeds that train, and their spread."""

import dataclasses

import numpy as np

from fusion_jax.results import tables
from fusion_jax.results.figures import learning_curves
from fusion_jax.results.rendering import table as shared
from tests.drawn import NEEDS, inside
from tests.rows import row

pytestmark = NEEDS


def test_curves_are_means_of_the_seeds_that_train_with_their_deviation(stored):
    rows = tables.rows(stored)
    epochs, values, spread = learning_curves.curve(stored, rows[1], "train_loss")
    np.testing.assert_array_equal(epochs, np.arange(4), "one seed of three trains on: no mean")
    np.testing.assert_allclose(values, 11.0 + np.arange(4))
    np.testing.assert_allclose(spread, 1.0)
    figure = learning_curves.figure(stored, [shared.of(rows)])
    assert inside(figure) and [len(ax.lines) for ax in figure.axes] == [2, 2]
    assert [ax.get_ylabel() for ax in figure.axes] == ["training loss", "validation score, as it selects"], (
        "no rows known"
    )


class Held:
    """A store that has what a cell predicted, of so many validation and test rows a seed."""

    def __init__(self, select="score", counts=((0, 8, 2), (1, 5, 2))):
        self.select, self.counts = select, counts

    def config(self, cell):
        return dict(training=dict(select=self.select))

    def has(self, cell, name):
        return name == "predictions.parquet" and bool(self.counts)

    def columns(self, cell, name):
        for seed, val, test in self.counts:
            part = np.array(["val"] * val + ["test"] * test + ["train"])
            yield dict(seed=np.full(len(part), seed), part=part)


def test_scores_are_told_as_shares_of_the_rows_that_select():
    found = dataclasses.replace(row("gmu", [0.5, 0.6]), cell="c", seeds=(0, 1))
    told = learning_curves.Told(Held(), [found])
    assert told.what == "accuracy"
    np.testing.assert_allclose(told(found, np.array([0, 1, 0]), np.array([4.7, 4.7, 8.9])), [4 / 8, 4 / 5, 1.0])
    paper = dataclasses.replace(found, protocol="paper")
    np.testing.assert_allclose(learning_curves.Told(Held(), [paper])(paper, np.array([1]), np.array([1.5])), [1 / 2])
    loss = learning_curves.Told(Held("loss"), [found])
    assert loss.what == "loss" and loss(found, np.array([1]), np.array([-0.3])) == [0.3]
    for held in (Held("last"), Held(counts=()), Held(counts=((0, 8, 2),))):
        raw = learning_curves.Told(held, [found])
        assert raw.what == "score, as it selects" and raw(found, np.array([0]), np.array([4.7])) == [4.7]
