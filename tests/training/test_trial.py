"""What a mechanism is told of labels: those of training rows, and only where it asks."""

import dataclasses

import jax
import numpy as np
import pytest

from fusion_jax import zoo
from fusion_jax.results.restore import restore
from fusion_jax.results.store import Store
from fusion_jax.run.begin import begin
from fusion_jax.run.cell import run_cell
from fusion_jax.training.trial import known_to_model, scaled
from tests import tiny

FUSION = """
import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.records import Fused, Info

SEEN = []


class Memory(nnx.Variable):
    pass


class Told(Fusion):
    info = Info("x", needs={needs})

    def __init__(self, modalities, dim, *, rngs):
        self.linear = nnx.Linear(dim, dim, rngs=rngs)
        self.told = Memory(jnp.zeros(()))
        self.key = Memory(jnp.zeros((), jnp.uint32))

    def begin(self, x, mask, graph, context):
        SEEN.append((context.target, context.train))
        if context.target is not None:
            self.told[...] = jnp.where(context.train, 1.0 + context.labels, 0).sum()
        self.key[...] = jax.random.key_data(context.key).ravel()[-1]

    def nodes(self, x, mask, graph, context):
        SEEN.append((context.target, context.train))
        y = self.linear(x.sum(1)) + self.told[...]
        if context.target is None:
            return Fused(y)
        return Fused(y + context.labels[:, None], revealed={revealed})
"""
LAYER = """
from flax import nnx

from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.presence import zero_absent
from fusion_jax.records import EVALUATION, Info

SEEN = []


class Told(GraphLayer):
    info = Info("x")

    def __init__(self, dim, out=None, *, rngs):
        self.linear = nnx.Linear(dim, dim if out is None else out, rngs=rngs)

    def __call__(self, x, graph, present=None, context=EVALUATION):
        SEEN.append((context.target, context.train))
        return self.linear(zero_absent(x, present))
"""


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


def told(folder, needs=("labels",), revealed="None", **changes):
    """A cell whose fusion writes down what it is told."""
    file = folder / "told.py"
    file.write_text(FUSION.format(needs=needs, revealed=revealed))
    return tiny.cell(model__fusion__name=str(file), **changes)


def seen(kind, name):
    return zoo.module(kind, name).SEEN


def test_begin_sees_the_labels_of_training_rows_of_its_own_seed(data, tmp_path):
    cell = told(tmp_path)
    ready = tiny.prepared(cell.plan, data, (0, 1))
    models = [tiny.model(cell.plan, data, ready) for _ in range(2)]
    begin(models, ready)
    labels = np.asarray(data.target.labels)
    for model, split in zip(models, ready.splits, strict=True):
        assert float(model.fusions[0].told[...]) == (1 + labels[split.train]).sum()
    assert models[0].fusions[0].key[...] != models[1].fusions[0].key[...]


def test_no_label_but_of_training_rows_reaches_a_prediction(data, tmp_path):
    cell = told(tmp_path, training__select="last")
    labels, split = np.array(data.target.labels), data.split(0)
    hidden = np.r_[split.val, split.test]
    labels[hidden] = 1 - labels[hidden]
    other = dataclasses.replace(data, target=dataclasses.replace(data.target, fields={"labels": labels}))
    found, again = (tiny.trained(cell.plan, d, (0,)).prediction for d in (data, other))
    np.testing.assert_array_equal(found, again)


def test_a_fusion_that_does_not_ask_is_not_told(data, tmp_path):
    cell = told(tmp_path, needs=())
    tiny.trained(cell.plan, data, (0,))
    found = seen("fusion", cell.plan.model.fusion.name)
    assert found and all(target is None and train is None for target, train in found)


def test_a_layer_that_does_not_ask_is_not_told(data, tmp_path):
    file = tmp_path / "told.py"
    file.write_text(LAYER)
    cell = tiny.cell(model__layer__name=str(file))
    ready = tiny.prepared(cell.plan, data, (0,))
    trial, target = jax.tree.map(lambda a: a[0], (ready.trials, ready.target))
    model = tiny.model(cell.plan, data, ready)
    model(scaled(ready.batch, trial), context=known_to_model(target, trial.train_weight))
    found = seen("layer", str(file))
    assert found and all(target is None and train is None for target, train in found)


def test_rows_that_were_shown_their_label_leave_the_loss(data, tmp_path):
    """All training rows are: nothing is left to learn from."""
    cell = told(tmp_path, revealed="context.train")
    assert np.nanmax(np.abs(tiny.trained(cell.plan, data, (0,)).history["train_loss"])) == 0


def test_what_begin_has_written_comes_back(data, tmp_path):
    cell, store = told(tmp_path), Store(tmp_path / "results", create=True)
    identity = run_cell(cell, store, data)["identity"]
    store.write_study([(identity, cell)], "x")
    back = restore(store, identity, data=data)
    stored = store.table(identity, "predictions")
    stored = np.stack(stored[stored.seed == 0].sort_values("row").prediction)
    np.testing.assert_allclose(back.prediction(0), stored, rtol=1e-6, atol=1e-6)  # the rounding of another program
