"""Land use in 21 classes against the figures known of it."""

import numpy as np
import pytest

from fusion_jax import data
from tests.data.linear import directed_agreement, loads_again, present, rbf_accuracy


@pytest.fixture(scope="module")
def landuse():
    return present("landuse21")


def test_landuse21_holds_what_is_known_of_it(landuse):
    assert np.bincount(landuse.target.labels).tolist() == [100] * 21 and landuse.mask.all()
    x = np.concatenate(list(landuse.features.values()), axis=1)
    assert len(x) - len(np.unique(x, axis=0)) == 1
    split = landuse.split(0)
    parts = [np.bincount(landuse.target.labels[part]).tolist() for part in (split.train, split.val, split.test)]
    assert parts == [[70] * 21, [10] * 21, [20] * 21]


def test_landuse21_graphs(landuse):
    y, known = landuse.target.labels, {"view1": 0.416, "view2": 0.594, "view3": 0.321}
    found = {name: directed_agreement(x, y, 5) for name, x in landuse.features.items()}
    assert found == pytest.approx(known, abs=0.002)
    together = np.concatenate(list(landuse.features.values()), axis=1)
    assert directed_agreement(together, y, 5) == pytest.approx(0.565, abs=0.002)


def test_landuse21_figures_of_an_svm(landuse):
    """Known over ten draws, 80 % training: 0.5593, 0.7669, 0.4971, all 0.7852, deviations 0.016 to 0.022."""
    split = landuse.split(0)
    training = np.sort(np.concatenate([split.train, split.val]))
    views = [*landuse.features.values()]
    views.append(np.concatenate(views, axis=1))
    found = [rbf_accuracy(x, landuse.target.labels, training, split.test) for x in views]
    np.testing.assert_allclose(found, [0.5593, 0.7669, 0.4971, 0.7852], atol=0.05)


def test_options_change_what_they_say(landuse):
    del landuse
    d = data.load("landuse21", train=0.5, val=0.2, stratify=False, neighbours=2)
    split = d.split(0)
    assert (len(split.train), len(split.val)) == (1050, 420) and len(d.graphs["knn"].senders) < 2 * 2100 * 2
    assert len(set(np.bincount(d.target.labels[split.train]).tolist())) > 1


def test_two_loads_are_equal_and_the_checksum_is_of_the_files(landuse):
    loads_again(landuse)


def test_its_numbers_stay(landuse):
    """Finished results are of these: another fingerprint makes it another data set."""
    assert landuse.fingerprint.startswith("cc6f392f29e2")
