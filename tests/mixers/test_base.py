"""Which attentions are simple, for the paper's 24 layers and few."""

import pytest

from fusion_jax.mixers.base import LAYERS, simple

OF_24 = {
    "uniform": range(1, 25),
    "hybrid": range(1, 25, 2),
    "odd": range(1, 25, 2),
    "even": range(2, 25, 2),
    "top": range(13, 25),
    "middle": range(7, 19),
    "bottom": range(1, 13),
    "but_every_fourth": [i for i in range(1, 25) if i % 4],
    "but_first": range(2, 25),
    "but_last": range(1, 24),
    "but_ends": range(2, 24),
}


@pytest.mark.parametrize("layers", LAYERS)
def test_of_the_papers_24_layers(layers):
    assert simple(layers, 24) == frozenset(OF_24[layers])


def test_of_few():
    assert simple("hybrid", 1) == {1} and simple("even", 1) == frozenset()
    assert simple("top", 3) == {3} and simple("bottom", 3) == {1} and simple("but_ends", 2) == frozenset()


def test_another_word_is_refused_and_the_nearest_named():
    with pytest.raises(ValueError, match=r"layers='hybird' \(did you mean 'hybrid'\?\)"):
        simple("hybird", 4)
