"""CMU-MOSI against the figures known of it, and its conversations."""

import numpy as np
import pytest

from fusion_jax import data
from tests.data.linear import accuracy, agreement, loads_again, present

MODULE = data.module("cmu_mosi")


@pytest.fixture(scope="module")
def mosi():
    return present("cmu_mosi")


@pytest.fixture(scope="module")
def videos(mosi):
    return np.array([i.split(":")[0] for i in mosi.ids]).astype(int)


def test_dialogue_edges_by_hand():
    made = MODULE.dialogue(np.array([0, 0, 0, 0, 1, 1, 2]), 2)
    past = set(zip(made["past"].senders.tolist(), made["past"].receivers.tolist(), strict=True))
    assert past == {(0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (4, 5)}
    both = set(zip(made["dialogue"].senders.tolist(), made["dialogue"].receivers.tolist(), strict=True))
    assert both == past | {(b, a) for a, b in past} and len(made["dialogue"].senders) == 12
    assert len(MODULE.dialogue(np.zeros(3, int), 9)["past"].senders) == 3  # a window longer than the video


def test_cmu_mosi_is_split_by_video(mosi, videos):
    y = mosi.target.labels
    for seed in (0, 1):
        split = mosi.split(seed)
        parts = [set(videos[part]) for part in (split.train, split.val, split.test)]
        assert [len(part) for part in parts] == [50, 12, 31]
        assert not parts[0] & parts[1] and not (parts[0] | parts[1]) & parts[2]
        training = np.concatenate([split.train, split.val])
        assert (np.bincount(y[training]).tolist(), np.bincount(y[split.test]).tolist()) == ([738, 709], [285, 467])
    assert not np.array_equal(split.val, mosi.split(0).val)


def test_cmu_mosi_rows_stand_as_spoken(mosi, videos):
    position = np.array([i.split(":")[1] for i in mosi.ids]).astype(int)
    starts = np.flatnonzero(np.r_[True, np.diff(videos) != 0])
    assert len(starts) == 93 and (position[starts] == 1).all()
    assert (np.diff(position)[np.diff(videos) == 0] == 1).all()
    lengths = np.bincount(videos)
    assert (lengths.min(), lengths.max()) == (9, 63)


def test_no_edge_crosses_videos_and_neighbours_agree_as_known(mosi, videos):
    for g in mosi.graphs.values():
        assert np.array_equal(videos[g.senders], videos[g.receivers])
    assert (mosi.graphs["past"].senders < mosi.graphs["past"].receivers).all()
    next_to = data.load("cmu_mosi", window=1).graphs["dialogue"]
    assert len(next_to.senders) == 2 * (2199 - 93)
    assert agreement(next_to, mosi.target.labels) == pytest.approx(0.670, abs=0.0005)


def test_cmu_mosi_figures_of_logistic_regression(mosi):
    """With them the rows of features and labels are those of the files, in whatever order."""
    y, split = mosi.target.labels, mosi.split(0)
    training = np.sort(np.concatenate([split.train, split.val]))
    views = [*map(np.float64, mosi.features.values())]
    views.append(np.concatenate(views, axis=1))
    for c, known in ((1, [0.7513, 0.5612, 0.5213, 0.7500]), (0.01, [0.7566, 0.5572, 0.5146, 0.7673])):
        found = [accuracy(x, y, training, split.test, c=c) for x in views]
        np.testing.assert_allclose(found, known, atol=3 / 752)  # solvers stop a few utterances apart


def test_cmu_mosi_figure_with_context(mosi):
    """Beside the features of an utterance the mean of the three before and after it: 0.7766."""
    x, g = np.concatenate([*map(np.float64, mosi.features.values())], axis=1), mosi.graphs["dialogue"]
    near = np.zeros_like(x)
    np.add.at(near, g.receivers, x[g.senders])
    near /= np.bincount(g.receivers, minlength=len(x))[:, None]
    split = mosi.split(0)
    training = np.sort(np.concatenate([split.train, split.val]))
    found = accuracy(np.concatenate([x, near], axis=1), mosi.target.labels, training, split.test, c=0.01)
    assert found == pytest.approx(0.7766, abs=3 / 752)


def test_a_window_below_one():
    with pytest.raises(ValueError, match="data set 'cmu_mosi': window=0; expected at least 1"):
        data.load("cmu_mosi", window=0)


def test_two_loads_are_equal_and_the_checksum_is_of_the_files(mosi):
    loads_again(mosi)


def test_its_numbers_stay(mosi):
    """Finished results are of these: another fingerprint makes it another data set."""
    assert mosi.fingerprint.startswith("bbdd97b41ae1")
