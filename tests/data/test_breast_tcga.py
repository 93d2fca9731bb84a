"""Subtypes of breast cancer against the figures known of them; protein is missing where it is to be predicted."""

import numpy as np
import pytest

from fusion_jax import data
from tests.data.linear import accuracy, loads_again, present


@pytest.fixture(scope="module")
def breast():
    return present("breast_tcga")


def test_breast_tcga_holds_the_published_split(breast):
    y, split = breast.target.labels, breast.split(0)
    training = np.sort(np.concatenate([split.train, split.val]))
    assert np.array_equal(training, np.arange(150)) and np.array_equal(split.test, np.arange(150, 220))
    assert (np.bincount(y[training]).tolist(), np.bincount(y[split.test]).tolist()) == ([45, 30, 75], [21, 14, 35])
    assert breast.class_names == ("Basal", "Her2", "LumA") and breast.columns["mrna"][:2] == ("RTN2", "NDRG2")


def test_breast_tcga_has_no_protein_in_test_rows(breast):
    assert breast.mask[:150].all() and breast.mask[150:].tolist() == [[True, True, False]] * 70
    assert not breast.features["protein"][150:].any() and breast.features["protein"][:150].all(0).any()
    g = breast.graphs["knn_protein"]
    assert max(g.receivers.max(), g.senders.max()) < 150 and 150 in breast.graphs["knn"].receivers


def test_breast_tcga_figures_of_logistic_regression(breast):
    y, train, test = breast.target.labels, np.arange(150), np.arange(150, 220)
    views = [np.float64(breast.features[name]) for name in ("mrna", "mirna")]
    views.append(np.concatenate(views, axis=1))
    for c, known in ((1, [0.9714, 0.8857, 0.9429]), (0.01, [0.9571, 0.9000, 0.9571])):
        found = [accuracy(x, y, train, test, c=c) for x in views]
        np.testing.assert_allclose(found, known, atol=1 / 70 + 1e-4)  # one tumour


def test_options_change_what_they_say(breast):
    del breast
    d = data.load("breast_tcga", val_fraction=0.1, neighbours=2)
    assert len(d.split(0).val) == 15 and len(d.graphs["knn"].senders) < 220 * 2 * 2


def test_two_loads_are_equal_and_the_checksum_is_of_the_files(breast):
    loads_again(breast)


def test_its_numbers_stay(breast):
    """Finished results are of these: another fingerprint makes it another data set."""
    assert breast.fingerprint.startswith("798e134bd8eb")
