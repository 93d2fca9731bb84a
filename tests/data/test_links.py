"""Links of any data set: every edge is one, the others are none, and both are split alike for every seed."""

import dataclasses

import numpy as np
import pytest

from fusion_jax import data
from fusion_jax.data.base import edge_set
from fusion_jax.data.links import as_links
from tests import tiny


def codes(pairs, n):
    pairs = np.sort(pairs, axis=1).astype(np.int64)
    return pairs[:, 0] * n + pairs[:, 1]


@pytest.fixture(scope="module")
def plain():
    return tiny.dataset()


@pytest.mark.parametrize("negatives", [0.5, 1.0, 3.0])
def test_every_edge_is_a_link_once_and_no_other_pair_is(plain, negatives):
    made = as_links(plain, negatives=negatives)
    edges, n, target = plain.graphs["planted"], plain.num_nodes, made.target
    joined = np.unique(codes(np.stack([edges.senders, edges.receivers], 1), n))
    pairs = codes(target.pairs, n)
    assert len(np.unique(pairs)) == len(pairs) and (target.pairs[:, 0] != target.pairs[:, 1]).all()
    np.testing.assert_array_equal(np.sort(pairs[target.labels]), joined)
    assert not np.isin(pairs[~target.labels], joined).any()
    assert (~target.labels).sum() == round(negatives * len(joined))
    assert made.class_names == () and made.features is not None and made.fingerprint != plain.fingerprint


def test_the_pairs_without_a_link_are_those_of_their_seed(plain):
    first, again, other = (as_links(plain, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.target.pairs, again.target.pairs)
    assert not np.array_equal(first.target.pairs, other.target.pairs)
    assert first.fingerprint == again.fingerprint != other.fingerprint, "the pairs count"


def test_both_kinds_are_split_by_themselves_for_every_seed(plain):
    made = as_links(plain, train=0.6, val=0.2)
    sizes = []
    for seed in range(3):
        split = made.split(seed)
        kinds = [
            [int((made.target.labels[rows] == kind).sum()) for kind in (True, False)] for rows in vars(split).values()
        ]
        assert all(a == b for a, b in kinds)
        sizes.append(kinds)
    assert sizes[0] == sizes[1] == sizes[2] and not np.array_equal(made.split(0).test, made.split(1).test)


def test_almost_all_pairs_can_be_drawn():
    """Of a star of four nodes there are three other pairs."""
    star = dataclasses.replace(tiny.dataset(nodes=12), graphs={"planted": edge_set([0] * 11, range(1, 12), 12)})
    made = as_links(star, negatives=5.0, train=0.5, val=0.25)
    assert (~made.target.labels).sum() == 55 and len(np.unique(codes(made.target.pairs, 12))) == 66


def test_what_has_no_links_is_refused(plain):
    with pytest.raises(ValueError, match="no edge set 'plantd'.*did you mean 'planted'"):
        as_links(plain, "plantd")
    with pytest.raises(ValueError, match="has no edge set to take links from"):
        as_links(dataclasses.replace(plain, graphs={}, default_graph=""))
    with pytest.raises(ValueError, match="links are of one graph, not of 240"):
        as_links(data.load("synthetic_graphs"))
    for negatives in (0.0, 1e4):
        with pytest.raises(
            ValueError, match=rf"negatives={negatives}; expected at least one pair without a link and at"
        ):
            as_links(plain, negatives=negatives)
    loops = dataclasses.replace(plain, graphs={"planted": edge_set(range(60), range(60), 60)})
    with pytest.raises(ValueError, match="0 links and negatives=1.0"):
        as_links(loops)


def test_a_named_edge_set_becomes_the_default_and_the_setting_transductive(plain):
    ring = edge_set(range(60), [*range(1, 60), 0], 60)
    two = dataclasses.replace(plain, graphs={**plain.graphs, "ring": ring}, setting="inductive")
    made = as_links(two, "ring")
    assert made.default_graph == "ring" and made.setting == "transductive" and made.target.labels.sum() == 60
