"""Features most of which are 0: their products are those of the dense ones, in a model and through training too."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn import sparse_rows
from fusion_jax.nn.sparse_rows import SparseRows
from fusion_jax.training.trial import scaled
from tests import tiny

N, WIDTH = 14, 9


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    monkeypatch.setattr(sparse_rows, "SMALL", 0)


def words(n=N, d=WIDTH, share=0.04, seed=0):
    """float [n, d]: few entries, a row and a column without any, and a row with NaN that is absent."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, d))
    where = rng.choice(n * d, max(int(share * n * d), 1), replace=False)
    x.ravel()[where] = rng.normal(size=len(where))
    x[1], x[:, 2] = 0, 0
    there = np.ones(n, bool)
    x[3], there[3] = np.nan, False
    return x, there


def dense(x, there, shift, scale):
    return jnp.where(there[:, None], (jnp.where(there[:, None], x, 0) - shift) * scale, 0)


@pytest.fixture
def case():
    x, there = words()
    rng = np.random.default_rng(1)
    shift, scale, kernel = rng.normal(size=WIDTH), rng.uniform(0.5, 2, WIDTH), rng.normal(size=(WIDTH, 3))
    return SparseRows.of(x, there).scaled(jnp.asarray(shift), jnp.asarray(scale)), dense(x, there, shift, scale), kernel


def test_a_product_and_its_gradient_are_those_of_the_dense_rows(case):
    found, x, kernel = case
    assert found.shape == x.shape and len(found.values) < x.size / 10
    np.testing.assert_allclose(found @ kernel, x @ kernel, atol=1e-12)
    weigh = np.random.default_rng(2).normal(size=(N, 3))
    one, two = (jax.grad(lambda w, s=s: (weigh * (s @ w) ** 2).sum())(kernel) for s in (found, x))
    np.testing.assert_allclose(one, two, atol=1e-12)


def test_many_kernels_at_a_time_and_rows_that_are_not_there_either(case):
    found, x, _ = case
    kernels = np.random.default_rng(3).normal(size=(4, WIDTH, 2))
    np.testing.assert_allclose(jax.vmap(lambda w: found @ w)(kernels), x @ kernels, atol=1e-12)
    there = np.arange(N) % 3 > 0
    less = jax.jit(lambda s, t: s.among(t) @ kernels[0])(found, jnp.asarray(there))
    np.testing.assert_allclose(less, jnp.where(there[:, None], x, 0) @ kernels[0], atol=1e-12)


def test_rows_that_are_dense_or_few_have_no_sparse_form(monkeypatch):
    x, there = np.zeros((20, 20)), np.ones(20, bool)
    x[:, 0] = 1
    assert SparseRows.of(x, there) is not None
    x[0, 1] = 1
    assert SparseRows.of(x, there) is None, "more than one of twenty"
    monkeypatch.setattr(sparse_rows, "SMALL", 401)
    assert SparseRows.of(np.zeros((20, 20)), there) is None


def counted(nodes=40):
    """The tiny data set with one modality that is mostly 0, missing at some nodes."""
    data = tiny.dataset(nodes=nodes)
    x, _ = words(nodes, 30, seed=4)
    x = np.where(np.isnan(x), 0, x).astype(np.float32)
    return dataclasses.replace(data, features={"m0": data.features["m0"], "m1": x})


@pytest.mark.parametrize("encoder", ["linear", "mlp", "gcn"])
def test_a_model_predicts_the_same_and_reads_no_stale_features(encoder):
    data = counted()
    plan = tiny.cell(model__encoder__name=encoder).plan
    ready = tiny.prepared(plan, data, (0,))
    assert list(ready.batch.sparse) == ["m1"]
    model = tiny.model(plan, data, ready)
    trial = jax.tree.map(lambda a: a[0], ready.trials)
    batch = jax.jit(lambda b, t: scaled(b, t))(ready.batch, trial)
    assert batch.names == ("m0", "m1") and list(batch.sparse) == ["m1"]
    plain = dataclasses.replace(batch)
    assert plain.sparse == {}, "a batch made from another one may have other features"
    close = dict(rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model(batch).prediction, model(plain).prediction, **close)
    fewer = batch.mask.at[:7, 1].set(False)
    masked = model(batch.with_mask(fewer)).prediction
    np.testing.assert_allclose(masked, model(plain.with_mask(fewer)).prediction, **close)
    assert not np.allclose(masked, model(batch).prediction, atol=1e-3)
    assert list(batch.with_graph(batch.graph).sparse) == ["m1"]


def test_an_encoder_that_drops_features_reads_the_dense_ones():
    data = counted()
    plan = tiny.cell(model__encoder__options=dict(rate=0.5)).plan
    ready = tiny.prepared(plan, data, (0,))
    model = tiny.model(plan, data, ready)
    trial = jax.tree.map(lambda a: a[0], ready.trials)
    batch = scaled(ready.batch, trial)
    zeros = batch.with_sparse({"m1": batch.sparse["m1"].scaled(0 * trial.shift["m1"], 0 * trial.scale["m1"])})
    np.testing.assert_array_equal(model(batch).prediction, model(zeros).prediction)


def test_nodes_that_are_yet_to_come_do_not_decide_how_training_multiplies():
    data = counted()
    assert tiny.prepared(tiny.cell(data__setting="inductive").plan, data, (0,)).batch.sparse == {}


@pytest.mark.parametrize("changes", [{}, {"model__missing": "mean"}])
def test_training_with_them_is_training_with_the_dense_ones(monkeypatch, changes):
    data = counted()
    with tiny.as_users_run():
        one = tiny.train(data, (0, 1), **changes)
        monkeypatch.setattr(sparse_rows, "SMALL", 10**9)
        two = tiny.train(data, (0, 1), **changes)
    # float32: the two orders of summing differ by 1e-7, which the steps of Adam carry on
    np.testing.assert_allclose(one.history["train_loss"], two.history["train_loss"], rtol=1e-4)
    np.testing.assert_allclose(one.prediction, two.prediction, rtol=1e-3, atol=1e-4)


def test_filled_values_have_no_sparse_form():
    data = counted()
    x = data.features["m1"].copy()
    x[5, 5] = np.nan
    data = dataclasses.replace(data, features={**data.features, "m1": x}, impute="mean")
    assert tiny.prepared(tiny.cell().plan, data, (0,)).batch.sparse == {}
