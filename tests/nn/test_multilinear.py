"""The three dropouts of the multilinear product; its numbers are tested with the fusions `block` and `mutan`."""

import jax
import numpy as np
from flax import nnx

from fusion_jax.nn import multilinear


def test_every_dropout_has_its_rate_and_a_key_of_its_own(monkeypatch):
    """Masks are functions of key and position: under one key what the input loses z would lose too."""
    seen = []

    def spied(x, rate, key):
        seen.append((rate, tuple(np.asarray(jax.random.key_data(key)).tolist())))
        return x

    monkeypatch.setattr(multilinear, "dropout", spied)
    options = dict(chunks=2, rank=1, shared=False, norm=None, input_rate=0.1, pre_lin_rate=0.2, output_rate=0.3)
    product = multilinear.Multilinear(2, 4, 4, 4, **options, rngs=nnx.Rngs(0))
    product(np.ones((2, 4), np.float32), np.ones(2, bool), key=jax.random.key(0))
    rates, keys = zip(*seen, strict=True)
    assert rates == (0.1, 0.2, 0.3)
    assert len(set(keys)) == 3
