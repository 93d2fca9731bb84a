"""Modality dropout: what it hides, and that evaluation hides nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.records import Batch
from fusion_jax.schemes.modality_dropout import ModalityDropout
from fusion_jax.training.trial import scaled
from tests import tiny

pytestmark = pytest.mark.xdist_group("training-schemes")


def modality_batch(n=4000, m=4, present=0.7):
    rng = np.random.default_rng(0)
    mask = rng.random((n, m)) < present
    features = {f"m{i}": jnp.asarray(rng.normal(size=(n, 2)), jnp.float32) for i in range(m)}
    return Batch(features, jnp.asarray(mask), None)


def dropped(batch, rate, seed=0):
    return np.asarray(ModalityDropout(rate=rate).transform(batch, jax.random.key(seed)).mask)


@pytest.mark.parametrize("rate", [0.2, 0.9])
def test_masked_stay_masked_and_one_is_kept(rate):
    batch = modality_batch()
    before, after = np.asarray(batch.mask), dropped(batch, rate)
    assert not (after & ~before).any()
    assert np.array_equal(after.any(1), before.any(1)), "a node keeps one, and one with none gets none"
    assert (before & ~after).any()


def test_the_rate():
    """A modality of n present ones stays with probability 1 - r, or as the one that is kept: + r^n / n."""
    batch, rate = modality_batch(n=40000), 0.4
    before, after = np.asarray(batch.mask), dropped(batch, rate)
    for n in range(1, 5):
        rows = before.sum(1) == n
        assert after[rows].sum() / before[rows].sum() == pytest.approx(1 - rate + rate**n / n, abs=0.01)


def test_which_one_is_kept_is_even():
    batch = modality_batch(n=40000, m=3, present=1.1)
    after = dropped(batch, 0.95)
    one = after[after.sum(1) == 1]
    np.testing.assert_allclose(one.mean(0), 1 / 3, atol=0.01)


def test_only_the_mask_changes_and_the_key_decides():
    batch = modality_batch()
    out = ModalityDropout(rate=0.5).transform(batch, jax.random.key(0))
    assert out.features is batch.features and out.graph is batch.graph
    assert np.array_equal(dropped(batch, 0.5), dropped(batch, 0.5))
    assert not np.array_equal(dropped(batch, 0.5), dropped(batch, 0.5, seed=1))
    np.testing.assert_array_equal(dropped(batch, 0.0), batch.mask)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match="modality_dropout"):
        ModalityDropout(rate=rate)


def test_evaluation_sees_every_modality():
    """The predictions stored are those of the batch as it is."""
    data = tiny.dataset()
    trained = tiny.train(data, (0,), scheme__name="modality_dropout", scheme__options={"rate": 0.8})
    plain = tiny.train(data, (0,))
    assert not np.array_equal(trained.history["train_loss"], plain.history["train_loss"])
    np.testing.assert_allclose(trained.prediction[0], predict(trained, data), rtol=1e-5, atol=1e-6)


def predict(trained, data, **changes):
    """What seed 0's model says of the whole batch."""
    ready = tiny.prepared(tiny.cell(**changes).plan, data, (0,))
    params, rest = (jax.tree.map(lambda a: a[0], tree) for tree in (trained.params, trained.rest))
    batch = scaled(ready.batch, jax.tree.map(lambda a: a[0], ready.trials))
    return np.asarray(nnx.merge(trained.graphdef, params, rest)(batch).prediction)
