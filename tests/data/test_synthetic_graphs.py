"""Synthetic graphs: the planted rule is right, and no part of it tells more than it should."""

import numpy as np
import pytest

from fusion_jax.data import synthetic_graphs
from fusion_jax.data.synthetic_graphs import best_rule, load


@pytest.fixture(scope="module")
def data():
    return load(graphs=400)


def per_graph(data):
    return np.repeat(np.arange(400), data.graphs["trees"].n_node)


def test_the_best_rule_knows_the_class(data):
    assert (best_rule(data) == data.target.labels).mean() > 0.99
    np.testing.assert_array_equal(np.bincount(data.target.labels), [100] * 4)


def test_noise_and_missing_modalities_take_the_combination_not_the_motif():
    hard = load(graphs=400, noise=1.5, missing=0.5, modalities=3)
    said, labels = best_rule(hard, noise=1.5), hard.target.labels
    np.testing.assert_array_equal(said // 2, labels // 2)
    assert 0.4 < (said % 2 == labels % 2).mean() < 0.75
    assert hard.mask.any(1).all() and 0.4 < hard.mask.mean() < 0.6


def test_the_motif_is_in_the_degrees_and_not_in_the_counts(data):
    graph, hub = data.graphs["trees"], data.target.labels // 2
    degree = np.bincount(graph.receivers, minlength=data.num_nodes)
    most = np.array([degree[per_graph(data) == g].max() for g in range(400)])
    np.testing.assert_array_equal(most, np.where(hub, 7, 2))
    np.testing.assert_array_equal(graph.n_edge, 2 * (graph.n_node - 1))  # trees, both directions
    assert abs(graph.n_node[hub == 0].mean() - graph.n_node[hub == 1].mean()) < 0.3


def test_the_trees_are_connected(data):
    graph = data.graphs["trees"]
    reach = np.arange(data.num_nodes)
    for _ in range(12):  # the smallest id within reach, as far as the longest path
        np.minimum.at(reach, graph.receivers, reach[graph.senders])
    assert len(np.unique(reach)) == 400


def test_the_combination_is_in_no_modality_alone(data):
    """Every pair of signs multiplies to the bit; each of them alone is a coin that does not know it."""
    odd = (data.target.labels % 2)[per_graph(data)]
    q = synthetic_graphs._directions(2, 8, 0)
    signs = np.stack([np.sign(data.features[f"m{m}"] @ q[m]) for m in range(2)], 1)
    assert (signs.prod(1) == 1 - 2 * odd).mean() > 0.99
    for m in range(2):
        assert abs(np.corrcoef(signs[:, m], odd)[0, 1]) < 0.05


def test_the_seed_decides_everything():
    a, b, c = load(graphs=8), load(graphs=8), load(graphs=8, seed=1)
    np.testing.assert_array_equal(a.features["m0"], b.features["m0"])
    np.testing.assert_array_equal(a.graphs["trees"].senders, b.graphs["trees"].senders)
    assert a.provenance.checksum == b.provenance.checksum != c.provenance.checksum
    assert not np.array_equal(a.features["m0"], c.features["m0"])


@pytest.mark.parametrize(
    "option, message",
    [
        (dict(smallest=7), "smallest=7, expected at least 8"),
        (dict(largest=7), "largest=7, expected at least 8"),
        (dict(modalities=1), "modalities=1, expected at least 2"),
        (dict(dim=0), "dim=0, expected at least 1"),
        (dict(leaves=1), "leaves=1, expected at least 2"),
        (dict(missing=1.0), "missing=1.0"),
        (dict(noise=-1), "noise=-1"),
        (dict(train=1.0), "train=1.0"),
        (dict(graphs=3), "graphs=3"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        load(**option)


def test_its_numbers_stay():
    """Finished results are of these: another fingerprint makes it another data set."""
    assert load().fingerprint.startswith("ca89cbd2b4b7")
    assert load(missing=0.3, modalities=3).fingerprint.startswith("0c5c1dd1961a")


def test_the_ends_of_the_ranges_are_in_them():
    d = load(graphs=12, smallest=4, largest=4, modalities=2, dim=1, leaves=2, noise=0, missing=0)
    assert d.num_nodes == 48 and d.features["m0"].shape == (48, 1)
    np.testing.assert_array_equal(np.bincount(load(graphs=4, train=0.3, val=0.3).target.labels), [1] * 4)
