"""A stated uncertainty goes with the predictions: from the model through training, an interruption and the store."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.nn.evidence import evidence
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.training.checkpoint import Partial
from fusion_jax.training.trial import scaled
from tests import tiny

SEEDS = (0, 1, 2)
MEFN = dict(model__fusion__name="mefn", model__placement="decision")


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


@pytest.fixture(scope="module")
def trained(data):
    return tiny.train(data, SEEDS, **MEFN)


def outputs(trained, data, i, **changes):
    """What the kept model of one seed returns, in evaluation, for the whole batch."""
    ready = tiny.prepared(tiny.cell(**MEFN, **changes).plan, data, SEEDS)
    trial = dataclasses.replace(jax.tree.map(lambda a: a[i], ready.trials), graph=None, mask=None)
    params, rest = jax.tree.map(lambda a: a[i], (trained.params, trained.rest))
    return nnx.merge(trained.graphdef, params, rest)(scaled(ready.batch, trial))


@pytest.mark.parametrize("changes", [{}, dict(data__setting="inductive"), dict(training__select_every=4)])
def test_it_is_that_of_the_best_epochs_predictions(data, changes):
    trained = tiny.train(data, SEEDS, **MEFN, **changes)
    assert trained.uncertainty.shape == (3, 60) and trained.uncertainty.dtype == np.float32
    assert (trained.uncertainty > 0).all() and (trained.uncertainty <= 1).all()
    for i in range(3):
        out = outputs(trained, data, i, **changes)
        np.testing.assert_allclose(trained.uncertainty[i], out.uncertainty, rtol=1e-5)
        np.testing.assert_allclose(out.uncertainty, 2 / (out.evidence.fused.sum(-1) + 2), rtol=1e-5)


def test_where_one_modality_is_present_it_is_k_over_the_sum_of_its_alpha(data):
    """alpha = softplus(z) + 1: a single opinion is its own fusion."""
    own = dict(model__presence="own")  # neighbours would say something of the other one
    trained = tiny.train(data, SEEDS[:1], **MEFN, **own)
    out = outputs(trained, data, 0, **own)
    single = np.flatnonzero(data.mask.sum(1) == 1)
    assert single.size > 3
    z = np.asarray(out.streams)[single, data.mask[single].argmax(1)]
    expected = 2 / (np.asarray(evidence(z)) + 1).sum(-1)
    # float32, and a fusion of beliefs on one side against alpha itself on the other
    np.testing.assert_allclose(trained.uncertainty[0][single], expected, rtol=1e-4)


def test_a_model_that_states_none_has_none(data):
    assert tiny.train(data, SEEDS).uncertainty is None
    assert tiny.train(data, SEEDS, model__fusion__name="late_logits", model__placement="decision").uncertainty is None


def test_seeds_in_one_batch_or_one_after_another(data, trained):
    # bit for bit as users compile; the tests' quick compilation rounds a loop over one seed differently in places
    np.testing.assert_allclose(tiny.train(data, (2,), **MEFN).uncertainty[0], trained.uncertainty[2], rtol=1e-6)
    # batched products sum in another order, in every one of the epochs
    batched = tiny.train(data, SEEDS, training__seed_axis="vmap", **MEFN)
    np.testing.assert_allclose(batched.uncertainty, trained.uncertainty, rtol=1e-3)


class Killed(BaseException):
    pass


class KilledAfterSave(Partial):
    def at_border(self, state, history):
        super().at_border(state, history)
        raise Killed


def test_resumed_is_uninterrupted_bit_for_bit(data, trained, tmp_path):
    with pytest.raises(Killed):
        tiny.train(data, SEEDS, KilledAfterSave(tmp_path / "partial", every=0.0), **MEFN)
    resumed = tiny.train(data, SEEDS, Partial(tmp_path / "partial", every=0.0), **MEFN)
    np.testing.assert_array_equal(resumed.uncertainty, trained.uncertainty)
    np.testing.assert_array_equal(resumed.prediction, trained.prediction)


def test_the_store_has_a_column_where_there_is_one(data, trained, tmp_path):
    store = Store(tmp_path, create=True)
    done = run_cell(tiny.cell(seeds=3, **MEFN), store, data)
    table = store.table(done["identity"], "predictions")
    for seed in SEEDS:
        np.testing.assert_array_equal(table[table.seed == seed].uncertainty, trained.uncertainty[seed])
    assert table.uncertainty.dtype == np.float32
    without = run_cell(tiny.cell(seeds=1), store, data)
    assert "uncertainty" not in store.table(without["identity"], "predictions")
