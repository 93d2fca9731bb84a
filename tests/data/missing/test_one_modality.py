"""One modality and no other, of exactly the share of the nodes that have it."""

import numpy as np
import pytest

from fusion_jax.data.missing.one_modality import one_modality
from tests.data.missing.nodes import made


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.9])
def test_exactly_the_share_of_those_that_have_it(rate):
    nodes = made(101)
    gone = one_modality(nodes, np.random.default_rng(0), rate=rate, modality="m1")
    assert not gone[:, [0, 2]].any() and gone[:, 1].sum() == round(rate * nodes.mask[:, 1].sum())
    assert not (gone & ~nodes.mask).any()


def test_without_a_name_each_may_be_the_one():
    columns = {tuple(one_modality(made(50), np.random.default_rng(s), rate=0.5).any(0)) for s in range(20)}
    assert columns == {(True, False, False), (False, True, False), (False, False, True)}


def test_a_modality_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="modality='m9', expected a modality of data set 'here': m0, m1, m2"):
        one_modality(made(5), np.random.default_rng(0), modality="m9")
