"""The smartwatch data: what is counted, who is where, what an edge joins, and that a window knows itself only."""

import copy
import sys

import numpy as np
import pytest

from fusion_jax import data
from fusion_jax.data import __main__ as listing
from fusion_jax.data import watch


@pytest.fixture(scope="module")
def held():
    return watch.read()


@pytest.fixture(scope="module")
def dataset():
    return data.load("watch", missing=0.5)


def windows(held, window=100):
    """(recording, first sample) of every node."""
    return [(r, t) for r, x in enumerate(held["X"]) for t in range(0, len(x) - window + 1, window)]


def test_counts(dataset, held):
    assert "seglearn" not in sys.modules
    nodes = windows(held)
    assert dataset.num_nodes == len(nodes) == 2369 and dataset.modalities == ("ax", "ay", "az", "wx", "wy", "wz")
    assert tuple(held["X_labels"]) == dataset.modalities
    assert dataset.class_names == ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
    np.testing.assert_array_equal(dataset.target.labels, [held["y"][r] for r, _ in nodes])
    assert len({(s, y) for s, y in zip(held["subject"], held["y"], strict=True)}) == 10 * 7


def test_features_of_a_window_by_hand(held):
    full = data.load("watch")
    assert full.mask.all()
    for node in (0, 1, 1200, 2368):
        r, t = windows(held)[node]
        for m, channel in enumerate(full.modalities):
            x = held["X"][r][t : t + 100, m]
            turn = np.exp(-2j * np.pi * np.outer(np.arange(1, 9), np.arange(100)) / 100)
            expected = [x.mean(), np.sqrt(((x - x.mean()) ** 2).mean()), *np.log1p(np.abs(turn @ (x - x.mean())))]
            np.testing.assert_allclose(full.features[channel][node], expected, rtol=1e-5, atol=1e-6)


def test_a_window_is_described_by_itself_alone(held, monkeypatch):
    before, changed = data.load("watch"), copy.deepcopy(held)
    r, t = windows(held)[700]
    changed["X"][r][t : t + 100, 3] += np.linspace(0, 50, 100)
    monkeypatch.setattr(watch, "read", lambda: changed)
    after = data.load("watch")
    for channel in before.modalities:
        rows = np.flatnonzero((before.features[channel] != after.features[channel]).any(1))
        assert rows.tolist() == ([700] if channel == "wx" else [])


def test_no_person_is_in_two_parts_and_seeds_draw_others(dataset, held):
    person = np.array([held["subject"][r] for r, _ in windows(held)])
    drawn = set()
    for seed in range(5):
        split = dataset.split(seed)
        people = [set(person[part]) for part in (split.train, split.val, split.test)]
        assert [len(p) for p in people] == [4, 2, 4] and len(set.union(*people)) == 10
        assert sum(len(part) for part in (split.train, split.val, split.test)) == 2369
        drawn.add(tuple(sorted(people[2])))
    assert len(drawn) == 5
    split = data.load("watch", train=7, val=1).split(0)
    assert [len(set(person[part])) for part in (split.train, split.val, split.test)] == [7, 1, 2]


def test_edges_join_windows_of_one_recording_that_are_near(dataset, held):
    at = np.array(windows(held))
    for reach in (1, 2, 40):
        graph = data.load("watch", reach=reach).graphs["time"]
        first, second = at[graph.senders], at[graph.receivers]
        steps = np.abs(first[:, 1] - second[:, 1]) // 100
        assert (first[:, 0] == second[:, 0]).all() and steps.min() == 1 and steps.max() == min(reach, 25)
        lengths = np.bincount(at[:, 0])
        assert len(graph.senders) == 2 * sum(max(n - s, 0) for n in lengths for s in range(1, reach + 1))
    pairs = set(zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True))
    assert {(b, a) for a, b in pairs} == pairs and len(pairs) == len(graph.senders)


def test_channels_are_missing_at_random(dataset):
    full, mask = data.load("watch"), dataset.mask
    assert np.array_equal(mask, data.load("watch", missing=0.5).mask)
    assert mask.any(1).all()
    # of the 2,369 windows 1 in 64 would lack all six channels and keeps one
    assert mask.mean() == pytest.approx(0.5 + 1 / 64 / 6, abs=4 * 0.5 / np.sqrt(mask.size))
    assert np.abs(np.corrcoef(mask.T) - np.eye(6)).max() < 4 / np.sqrt(len(mask))
    for m, channel in enumerate(full.modalities):
        there = mask[:, m]
        np.testing.assert_array_equal(dataset.features[channel][there], full.features[channel][there])
        assert not dataset.features[channel][~there].any()


def test_shorter_windows():
    d = data.load("watch", window=16)
    assert d.num_nodes > 14_000 and all(np.isfinite(x).all() for x in d.features.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(window=15), r"window=15, expected a whole number in \[16, 947\]"),
        (dict(window=948), r"window=948"),
        (dict(window=100.0), r"window=100\.0"),
        (dict(missing=1.0), r"missing=1\.0, expected a number in \[0, 1\)"),
        (dict(missing=-0.1), r"missing=-0\.1"),
        (dict(train=0), r"train=0, expected a whole number in \[1, 8\]"),
        (dict(train=8, val=2), r"val=2, expected a whole number in \[1, 1\]"),
        (dict(reach=0), r"reach=0"),
        (dict(reach=True), r"reach=True"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=f"watch: {message}"):
        data.load("watch", **options)


def test_without_the_package_it_says_what_to_install(monkeypatch, tmp_path):
    find_spec = watch.importlib.util.find_spec
    monkeypatch.setattr(watch.importlib.util, "find_spec", lambda name: None if name == "seglearn" else find_spec(name))
    with pytest.raises(ImportError, match="'watch'.*not installed: pip install seglearn==1.2.5"):
        data.load("watch")
    row = next(row for row in listing.rows() if row["name"] == "watch")
    assert not row["present"] and row["get"] == "pip install 'seglearn==1.2.5'"


def test_a_package_without_the_file_and_another_file_are_refused(monkeypatch, tmp_path):
    package = tmp_path / "seglearn"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('the package was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="watch_dataset.npy: seglearn is installed without it"):
        data.load("watch")
    (package / "data").mkdir()
    (package / "data" / "watch_dataset.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match="watch_dataset.npy: sha256 is .*, expected eb122f23"):
        data.load("watch")


def test_its_numbers_stay():
    """Finished results are of these: another fingerprint makes it another data set."""
    assert data.load("watch").fingerprint.startswith("108028487654")
    assert data.load("watch", missing=0.3, window=200, reach=1, train=5, val=1).fingerprint.startswith("208fcaf65c05")
