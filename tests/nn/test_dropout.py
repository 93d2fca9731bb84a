"""The hashed dropout mask: right rate, no pattern over positions or keys, same bits under jit and vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn.dropout import dropout, keep_mask, split_key
from tests.nn.reference import close, derivatives, normal, random_only_with_a_key


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_rate_and_independence(rate):
    keys = jax.random.split(jax.random.key(0), 64)
    keep = np.asarray(jax.vmap(lambda k: keep_mask(k, rate, (50, 40)))(keys), float)
    n = keep.size
    assert abs(keep.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / n)
    flat = (keep.reshape(64, -1) - (1 - rate)) / np.sqrt(rate * (1 - rate))
    for lag in (1, 2, 40, 64, 256, 1024):  # neighbours, and the distances a weak mixing would show at
        assert abs((flat[:, lag:] * flat[:, :-lag]).mean()) < 5 / np.sqrt(flat[:, lag:].size), lag
    between = flat[1:] * flat[:-1]  # consecutive keys at the same position
    assert abs(between.mean()) < 5 / np.sqrt(between.size)
    by_position = keep.mean(0).ravel()
    assert by_position.std() == pytest.approx(np.sqrt(rate * (1 - rate) / 64), rel=0.1)


def test_sequential_seeds_are_independent():
    """Keys of seeds 0, 1, 2, ... differ in one word only; their masks must not."""
    masks = np.stack([keep_mask(jax.random.key(s), 0.5, (4096,)) for s in range(32)]).astype(float) - 0.5
    correlation = np.corrcoef(masks)
    assert np.abs(correlation - np.eye(32)).max() < 5 / np.sqrt(4096)


def test_same_bits_everywhere():
    keys = jax.random.split(jax.random.key(3), 2)
    both = jax.jit(jax.vmap(lambda k: keep_mask(k, 0.3, (5, 7))))(keys)
    np.testing.assert_array_equal(both[1], keep_mask(keys[1], 0.3, (5, 7)))


def test_edges():
    x = jnp.ones((3, 4))
    assert dropout(x, 0.5, None) is x
    assert dropout(x, 0.0, jax.random.key(0)) is x
    assert set(np.unique(dropout(x, 0.5, jax.random.key(0)))) == {0.0, 2.0}
    with pytest.raises(ValueError, match="rate 1.0"):
        dropout(x, 1.0, jax.random.key(0))


def test_dropout_needs_a_key_and_keeps_the_mean():
    x = normal(3, 4)
    random_only_with_a_key(lambda key: dropout(x, 0.3, key), unbiased=True)
    derivatives(lambda x: dropout(x, 0.3, jax.random.key(0)) ** 2, x)
    kept = keep_mask(jax.random.key(0), 0.3, (3, 4))
    close(dropout(x, 0.3, jax.random.key(0)), np.where(kept, x / 0.7, 0))
    assert dropout(x.astype(jnp.float32), 0.3, jax.random.key(0)).dtype == jnp.float32


def test_the_bits_are_what_they_were():
    """Stored results depend on them."""
    keep = np.asarray(keep_mask(jax.random.key(0), 0.5, (32,))).astype(int)
    assert "".join(map(str, keep)) == "01011010101110100100000000111000"
    assert keep_mask(jax.random.key(0), 0.0, (50,)).all() and keep_mask(jax.random.key(0), 0.5, (0, 3)).shape == (0, 3)
    assert not keep_mask(jax.random.key(0), 1 - 1e-12, (50,)).any()
    both = np.asarray(keep_mask(jax.random.key(0), 0.5, (4, 8)))
    np.testing.assert_array_equal(both.ravel(), keep == 1)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match=f"dropout rate {rate}, expected 0 <= rate < 1"):
        keep_mask(jax.random.key(0), rate, (2,))


def test_keys_are_split_or_there_is_none():
    assert split_key(None, 3) == (None, None, None)
    keys = split_key(jax.random.key(0), 3)
    assert len(keys) == 3 and len({tuple(jax.random.key_data(k).tolist()) for k in (*keys, jax.random.key(0))}) == 4
