"""The planted sets of labels, several targets and links: options, missing modalities, what the modalities tell."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from fusion_jax import data

NAMES = ("synthetic_labels", "synthetic_several", "synthetic_links")
each = pytest.mark.parametrize("name", NAMES)


@each
def test_options_decide_and_are_checked(name):
    made, again, other = (data.load(name, nodes=60, seed=seed) for seed in (0, 0, 1))
    assert made.num_nodes == 60 and made.fingerprint == again.fingerprint != other.fingerprint
    for option, value, message in (
        ("nodes", 6, "expected at least 7"),
        ("noise", -0.1, "expected at least 0"),
        ("dim", 1, "expected at least"),
        ("degree", 0, "expected at least 1"),
        ("missing", 1.0, r"expected a number in \[0, 1\)"),
    ):
        with pytest.raises(ValueError, match=f"data set '{name}': {option}={value}, {message}"):
            data.load(name, **{option: value})
    with pytest.raises(ValueError, match="labels=0, expected at least 1"):
        data.load("synthetic_labels", labels=0)


@each
def test_every_node_keeps_a_modality_and_its_neighbours_are_the_nearest(name):
    made = data.load(name, nodes=200, missing=0.5, noise=0.0, degree=3)
    assert made.mask.any(1).all() and 0.3 < made.mask.mean() < 0.75
    assert not made.features["a"][~made.mask[:, 0]].any()
    whole = data.load(name, nodes=200, noise=0.0, degree=3)
    x = np.concatenate(list(whole.features.values()), 1)  # without noise the distance of features is that of latents
    distance = ((x[:, None] - x[None]) ** 2).sum(-1) + np.diag(np.full(200, np.inf))
    joined = np.zeros((200, 200), bool)
    joined[whole.graphs["near"].senders, whole.graphs["near"].receivers] = True
    assert (joined == joined.T).all()
    assert joined[np.arange(200)[:, None], np.argsort(distance, 1)[:, :3]].all() and joined.sum() <= 2 * 3 * 200


def test_of_several_targets_the_class_is_told_by_both_and_the_values_by_sums():
    made = data.load("synthetic_several", nodes=600, noise=0.0)
    a, b = made.features.values()
    both = np.concatenate([a, b], 1)
    assert LinearRegression().fit(both, made.target.height.values).score(both, made.target.height.values) > 0.999
    for one in (a, b):
        assert LinearRegression().fit(one, made.target.height.values).score(one, made.target.height.values) < 0.65
        flags = np.eye(4)[made.target.quadrant.labels]
        assert LinearRegression().fit(one, flags).score(one, flags) < 0.1
    assert np.bincount(made.target.quadrant.labels).min() > 100
