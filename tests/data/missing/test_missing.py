"""What every mechanism of missing modalities keeps to, one of a user's own too; and the data set without it."""

import dataclasses

import numpy as np
import pytest

from fusion_jax import zoo
from fusion_jax.data.base import edge_set
from fusion_jax.data.missing import lost, without
from tests import tiny
from tests.data.missing.nodes import made

OWN = '''
"""The first so many nodes lose everything, for this test."""

import numpy as np


def firsts(nodes, rng, *, rate: float = 0.3):
    return np.arange(len(nodes.mask))[:, None] < rate * len(nodes.mask) * np.ones((1, nodes.mask.shape[1]))
'''


@pytest.fixture(params=[*zoo.names("missing"), "firsts.py"])
def name(request, tmp_path):
    if not zoo.is_path(request.param):
        return request.param
    (tmp_path / request.param).write_text(OWN)
    return str(tmp_path / request.param)


def drawn(name, nodes, seed=0, **options):
    return lost(name, nodes, np.random.default_rng(seed), **options)


def test_more_is_lost_at_a_higher_rate_of_what_was_there_and_of_that_the_share_that_is_asked(name):
    nodes = made()
    each = [drawn(name, nodes, rate=rate) for rate in (0.0, 0.2, 0.5, 0.9)]
    assert not each[0].any()
    for less, more in zip(each, each[1:], strict=False):
        assert not (less & ~more).any() and more.sum() > less.sum() and not (more & ~nodes.mask).any()
    for rate, gone in zip((0.2, 0.5, 0.9), each[1:], strict=True):
        touched = gone.any(0)
        assert touched.any()
        shares = gone.sum(0)[touched] / nodes.mask.sum(0)[touched]
        np.testing.assert_allclose(shares, rate, atol=0.025)  # 3 standard deviations of 3600 draws


def test_equal_generators_draw_equal_and_the_default_rate_is_three_tenths(name):
    nodes = made(500)
    np.testing.assert_array_equal(drawn(name, nodes), drawn(name, nodes, rate=0.3))
    assert name.endswith("firsts.py") or (drawn(name, nodes) != drawn(name, nodes, seed=1)).any()


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_is_a_share_below_1(name, rate):
    with pytest.raises(ValueError, match=f"rate={rate}, expected a number in"):
        drawn(name, made(20), rate=rate)


def test_what_is_misspelt_is_named():
    with pytest.raises(ValueError, match="no missing named 'unifrom'.*did you mean 'uniform'"):
        drawn("unifrom", made(20))
    with pytest.raises(ValueError, match="'uniform' has no option 'raet'.*did you mean 'rate'"):
        drawn("uniform", made(20), raet=0.1)


def test_a_data_set_without_it_is_the_same_at_every_call_and_keeps_its_lacks():
    data = tiny.dataset()
    assert without(data, "", {}) is data
    less, again = (without(data, "uniform", dict(rate=0.5)) for _ in range(2))
    np.testing.assert_array_equal(less.mask, again.mask)
    assert not (less.mask & ~data.mask).any() and 0.3 < less.mask.sum() / data.mask.sum() < 0.7
    assert less.fingerprint != data.fingerprint


def test_a_named_edge_set_is_looked_at_and_not_the_default_one():
    data = tiny.dataset(missing=0.0)
    pairs = edge_set(np.arange(0, 60, 2), np.arange(1, 60, 2), 60)
    data = dataclasses.replace(data, graphs={**data.graphs, "pairs": pairs})
    mask = without(data, "neighbourhood", dict(rate=0.5), "pairs").mask
    np.testing.assert_array_equal(mask[::2], mask[1::2])
    other = without(data, "neighbourhood", dict(rate=0.5)).mask
    assert (other[::2] != other[1::2]).any()
