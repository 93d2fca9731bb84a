"""Training in batches of rows with sampled neighbourhoods: its loss, its steps, its seeds, and what it evaluates."""

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.training.checkpoint import Partial
from fusion_jax.training.trial import whole
from tests import tiny

SEEDS = (0, 1)
ALL = dict(training__batch=40, training__fanout=(64,))  # every row and every sender
FEW = dict(training__batch=7, training__fanout=(2,), model__layer__name="sage")
SLOW = dict(optimizer__name="sgd", optimizer__options={}, optimizer__learning_rate=1e-12)


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


@pytest.fixture(scope="module")
def few(data):
    return tiny.train(data, SEEDS, **FEW)


def leaves(trained):
    return [np.asarray(a) for a in jax.tree.leaves((trained.params, trained.rest))]


def same(a, b, i=slice(None), j=slice(None)) -> bool:
    """Whether two trainings agree bit for bit in parameters, predictions and history."""
    pairs = [*zip(leaves(a), leaves(b), strict=True), (a.prediction, b.prediction)]
    pairs += [(a.history[k], b.history[k]) for k in a.history]
    return all(np.array_equal(x[i], y[j], equal_nan=True) for x, y in pairs)


@pytest.mark.parametrize("loss", [{}, {"loss__class_weights": True}])
def test_the_mean_over_batches_is_the_loss_of_all_rows(data, loss):
    """Before anything moves, whatever the weights, and though the last batch is not full."""
    exact = dict(model__layer__name="sage", model__rate=0.0, training__epochs=2, **loss, **SLOW)
    few = tiny.train(data, SEEDS, **{**exact, "training__batch": 7, "training__fanout": (64,)})
    assert len(data.split(0).train) % 7
    np.testing.assert_allclose(few.history["train_loss"], tiny.train(data, SEEDS, **exact).history["train_loss"], 1e-5)


def test_with_all_rows_and_senders_it_is_full_batch_training(data):
    exact = dict(model__layer__name="sage", model__rate=0.0)
    (full, few), key = (tiny.train(data, SEEDS, **exact, **more) for more in ({}, ALL)), "train_loss"
    # float32: sums in another order, which Adam makes larger where it divides by small roots; the layers themselves are
    # compared in float64 to 1e-9 in test_neighbourhood.py
    np.testing.assert_allclose(few.history[key], full.history[key], rtol=1e-4)
    np.testing.assert_allclose(few.prediction, full.prediction, rtol=1e-3, atol=1e-4)
    assert full.history[key][0, -1] < full.history[key][0, 0] - 0.01


def test_a_seed_alone_is_that_seed_among_others_on_any_seed_axis(data, few):
    assert same(tiny.train(data, (1,), **FEW), few, 0, 1)
    batched = tiny.train(data, SEEDS, **FEW, training__seed_axis="vmap")
    assert same(tiny.train(data, (1,), **FEW, training__seed_axis="vmap"), batched, 0, 1)
    # float32: a batch of products rounds as one product does not
    np.testing.assert_allclose(batched.history["train_loss"], few.history["train_loss"], rtol=1e-4)


def test_an_interrupted_training_ends_bit_for_bit_like_an_uninterrupted_one(data, few, tmp_path):
    class Killed(Exception):
        pass

    class Once(Partial):
        def at_border(self, state, history):
            super().at_border(state, history)
            raise Killed

    with pytest.raises(Killed):
        tiny.train(data, SEEDS, Once(tmp_path / "partial", every=0.0), **FEW)
    partial = Partial(tmp_path / "partial", every=0.0)
    assert same(tiny.train(data, SEEDS, partial, **FEW), few)


def test_every_epoch_and_seed_draws_anew(few):
    """Steps that see the same rows and senders would be repeated: nothing but what is drawn differs in them."""
    still = {**FEW, **SLOW, "model__rate": 0.0, "per_seed": ("dropout",)}
    loss = tiny.train(tiny.dataset(), SEEDS, **still).history["train_loss"]
    assert len(np.unique(loss)) == loss.size


def test_what_is_stored_is_what_the_whole_model_says(data, few):
    ready = tiny.prepared(tiny.cell(**FEW).plan, data, SEEDS)
    for i in range(len(SEEDS)):
        trial = jax.tree.map(lambda a, i=i: a[i], ready.trials)
        params, rest = jax.tree.map(lambda a, i=i: a[i], (few.params, few.rest))
        said = nnx.merge(few.graphdef, params, rest)(whole(ready.batch, trial)).prediction
        np.testing.assert_allclose(few.prediction[i], said, rtol=1e-4, atol=1e-5)
