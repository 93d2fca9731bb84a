"""What is planted is there: distances, keys and combinations; the best classifier is what it says."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.csgraph import shortest_path

from fusion_jax import data
from fusion_jax.data.synthetic_reach import bayes_accuracy, draw, load, posterior

FEW = dict(graphs=40, beacons=3, readers=5, classes=3, dim=9)


def distances(drawn) -> np.ndarray:
    n = len(drawn.mask)
    a = sp.csr_array((np.ones(len(drawn.pairs)), drawn.pairs.T), shape=(n, n))
    return shortest_path(a, directed=False, unweighted=True)


def test_its_numbers_stay():
    """Finished results are of these: another fingerprint makes it another data set."""
    assert data.load("synthetic_reach").fingerprint.startswith("cfbf4b532a70")
    assert data.load("synthetic_reach", missing=0.2, beacons=3, distance=2).fingerprint.startswith("3c2bd936dcf7")


@pytest.mark.parametrize("distance", [1, 2, 3, 6])
def test_every_reader_is_that_far_from_every_beacon_of_its_graph(distance):
    drawn = draw(**FEW, distance=distance)
    far = distances(drawn)
    for g in range(3):
        assert (far[np.ix_(drawn.beacons[g], drawn.readers[g])] == distance).all()
        assert np.isinf(far[np.ix_(drawn.beacons[g], drawn.readers[g + 1])]).all()
    size = 3 * (distance - 1) + 6 if distance > 1 else 8
    assert set(drawn.n_node) == {size} and len(drawn.mask) == 40 * size
    if distance > 1:
        assert len(drawn.pairs) == 40 * (size - 1)  # trees


def test_the_label_is_the_sum_of_the_symbols_of_the_beacon_with_the_readers_key():
    drawn = draw(**FEW, noise=0.0)
    for g in range(40):
        key_of = {drawn.features[b, 0, 4:7].argmax(): b for b in drawn.beacons[g]}
        assert len(key_of) == 3
        for reader, label in zip(drawn.readers[g], drawn.labels[g], strict=True):
            beacon = drawn.features[key_of[drawn.features[reader, 1, 4:7].argmax()]]
            assert label == (beacon[0, :3].argmax() + beacon[1, :3].argmax()) % 3 and (beacon[:, 3] == 1).all()
    others = np.setdiff1d(np.arange(len(drawn.mask)), np.concatenate([drawn.beacons.ravel(), drawn.readers.ravel()]))
    assert not drawn.features[others].any() and not drawn.features[drawn.readers][..., :4].any()


def test_no_other_part_tells_the_label():
    drawn = draw(graphs=4000, classes=3)
    place = np.argsort(drawn.keys, axis=1)
    own = np.take_along_axis(place, drawn.asked, axis=1)
    rows = np.arange(4000)[:, None]
    for other in (
        drawn.symbols[rows, own, 0],
        drawn.symbols[rows, own, 1],
        drawn.symbols[rows, 1 - own].sum(-1) % 3,
        drawn.asked,
    ):
        for value in range(3 if other.max() > 1 else 2):
            share = np.bincount(drawn.labels[other == value], minlength=3) / (other == value).sum()
            np.testing.assert_allclose(share, 1 / 3, atol=0.03)


@pytest.mark.parametrize("options", [{}, dict(noise=0.6, missing=0.2), dict(noise=0.5, beacons=3, classes=3)])
def test_the_best_classifier_is_as_often_right_as_it_thinks(options):
    best, drawn = bayes_accuracy(**options, seed=1), draw(**options, graphs=3000, distance=2)
    p = posterior(drawn)
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-9)
    hit = p.argmax(-1) == drawn.labels
    assert hit.mean() == pytest.approx(best, abs=0.012)
    for low, high in ((0.0, 0.6), (0.6, 0.8), (0.8, 1.0)):
        part = (p.max(-1) >= low) & (p.max(-1) < high)
        if part.sum() > 1000:
            assert hit[part].mean() == pytest.approx(p.max(-1)[part].mean(), abs=0.04)
    assert best > 0.998 or options


def test_readers_of_a_graph_are_in_one_part_and_are_all_that_is_labelled():
    d, drawn = load(**FEW), draw(**FEW)
    split = d.split(0)
    parts = (split.train, split.val, split.test)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.sort(drawn.readers.ravel()))
    np.testing.assert_array_equal(np.flatnonzero(d.labelled), np.sort(drawn.readers.ravel()))
    for readers in drawn.readers:
        assert sum(np.isin(readers, part).all() for part in parts) == 1
    assert [len(part) for part in parts] == [100, 40, 60]
    np.testing.assert_array_equal(d.target.labels[drawn.readers], drawn.labels)


@pytest.mark.parametrize(
    "option, value",
    [("distance", 0), ("beacons", 0), ("dim", 4), ("classes", 1), ("noise", -1), ("missing", 1.0), ("graphs", 2.5)],
)
def test_options_out_of_range_are_refused_by_name(option, value):
    with pytest.raises(ValueError, match=f"synthetic_reach.*{option}={value}"):
        load(**{option: value})
    with pytest.raises(ValueError, match="no option 'distanc'.*'distance'"):
        draw(distanc=3)


def test_what_is_missing_is_0():
    found = load(graphs=5, missing=0.5)
    assert not found.mask.all()
    for m, name in enumerate("ab"):
        np.testing.assert_array_equal((found.features[name] != 0).any(1), found.mask[:, m])
