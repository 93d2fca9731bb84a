"""What a training step minimises: the loss, and what mechanisms say beside their predictions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.records import EVALUATION, Head, Output
from fusion_jax.schemes.base import Stage
from fusion_jax.training import optimizers
from fusion_jax.training.build import build_loss
from fusion_jax.training.stages import plan
from fusion_jax.training.step import training_loss
from tests import tiny


class Two(nnx.Module):
    """A prediction, another beside it at the weight, and predictions of single modalities if `streams`."""

    def __init__(self, rows: int, weight: float, streams: bool):
        values = np.random.default_rng(0).normal(size=(2, rows, 2)).astype(np.float32)
        self.values = nnx.Param(jnp.asarray(values))
        self.weight, self.streams = weight, streams

    def __call__(self, batch, *, context=EVALUATION):
        own, beside = self.values[...]
        mask = jnp.ones((len(own), 1), bool)
        streams = 2 * own[:, None] if self.streams else None
        return Output(own, streams, own[:, None], own, mask, heads=(Head("beside", beside, self.weight),))


@pytest.fixture(scope="module")
def loss_of():
    """(weight, streams or not) -> what the step minimises."""
    data = tiny.dataset()
    cell = tiny.cell(loss__name="cross_entropy", loss__options={"streams": 0.5})
    ready = tiny.prepared(cell.plan, data, (0,))
    trial, target = jax.tree.map(lambda a: a[0], (ready.trials, ready.target))
    loss = build_loss(cell.plan.loss, cell.plan.model, ready.target)
    (planned,) = plan([Stage(3)], lambda place, epochs, numbers: optimizers.make("sgd", 1.0, epochs=epochs), 0)

    def run(weight, streams):
        model = Two(data.num_nodes, weight, streams)
        key, epoch = jax.random.key(0), jnp.int32(0)
        return training_loss(model, ready.batch, target, trial, epoch, key, planned=planned, loss=loss)

    return run


def test_a_prediction_beside_the_main_one_counts_at_its_weight(loss_of):
    none, one, three = (float(loss_of(weight, False)) for weight in (0.0, 1.0, 3.0))
    assert one - none > 0.1
    np.testing.assert_allclose(three - none, 3 * (one - none), rtol=1e-5)


def test_the_predictions_of_single_modalities_count_once(loss_of):
    """They are in the loss of the main prediction, and no more in that of the one beside it."""
    with_streams, without = (float(loss_of(1.0, s) - loss_of(0.0, s)) for s in (True, False))
    np.testing.assert_allclose(with_streams, without, rtol=1e-5)
    assert loss_of(0.0, True) - loss_of(0.0, False) > 0.1
