"""One hundred plant species against the figures known of them."""

import numpy as np
import pytest

from fusion_jax import data
from tests.data.linear import accuracy, agreement, averaged, loads_again, present


@pytest.fixture(scope="module")
def leaves():
    return present("leaves100")


def test_leaves_holds_what_is_known_of_it(leaves):
    y = leaves.target.labels
    assert np.bincount(y).tolist() == [16] * 100
    assert np.argwhere(~leaves.mask).tolist() == [[0, 2]] and not leaves.features["texture"][0].any()
    for name in ("margin", "texture"):  # histograms on a grid of 1 / 1024, which the filled-in row is off
        x = leaves.features[name][1:]
        np.testing.assert_allclose(x.sum(1), 1, atol=1e-4)
        np.testing.assert_allclose(x * 1024, np.round(x * 1024), rtol=0, atol=0.01)
    split = leaves.split(0)
    assert (len(split.train), len(split.val), len(split.test)) == (200, 200, 1200)


def test_leaves_graphs(leaves):
    """The known counts are with the filled-in texture of leaf 0, 10,730 and 30,038 edges."""
    y, g = leaves.target.labels, leaves.graphs
    assert abs(len(g["knn"].senders) - 10730) <= 20 and abs(len(g["knn_union"].senders) - 30038) <= 20
    assert agreement(g["knn"], y) == pytest.approx(0.944, abs=0.001)
    assert agreement(g["knn_union"], y) == pytest.approx(0.467, abs=0.001)
    assert len(np.unique(g["knn"].receivers)) == 1600
    assert 0 not in g["knn_texture"].receivers and len(np.unique(g["knn_texture"].receivers)) == 1599


def test_leaves_figures_of_logistic_regression(leaves):
    """Known over ten draws: 0.6275, 0.4650, 0.6320, 0.9336, deviation 0.01; two rounds over the graph 0.9563."""
    y, s = leaves.target.labels, leaves.split(0)
    views = [np.float64(x) for x in leaves.features.values()]
    views.append(np.concatenate(views, axis=1))
    scores = [accuracy(x, y, s.train, s.test) for x in views]
    np.testing.assert_allclose(scores, [0.6275, 0.4650, 0.6320, 0.9336], atol=0.03)
    rounds = averaged((views[-1] - views[-1].mean(0)) / views[-1].std(0), leaves.graphs["knn"])
    assert accuracy(rounds, y, s.train, s.test) == pytest.approx(0.9563, abs=0.025)


def test_two_loads_are_equal_and_the_checksum_is_of_the_files(leaves):
    loads_again(leaves)


def test_options_change_what_they_say(leaves):
    del leaves
    d = data.load("leaves100", train_per_class=13, val_per_class=1, neighbours=3)
    assert len(d.split(0).train) == 1300 and len(d.graphs["knn"].senders) < 10000


def test_its_numbers_stay(leaves):
    """Finished results are of these: another fingerprint makes it another data set."""
    assert leaves.fingerprint.startswith("c7bed85e8e81")
