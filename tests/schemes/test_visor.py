"""The scheme of VISOR: its labels, what its stages move, and that evaluation is what training said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.checking.inputs import planted
from fusion_jax.fusion.visor import CHOSEN
from fusion_jax.run.model import train_model
from fusion_jax.run.size import at_its_size
from fusion_jax.schemes.visor import Visor, cheapest, scores
from fusion_jax.training.prepare import prepare
from fusion_jax.training.trial import scaled

pytestmark = pytest.mark.xdist_group("training-schemes")


def test_the_label_is_the_cheapest_that_is_good_enough_and_the_full_one_always_is():
    score = jnp.array([[0.5, 0.98, 1.0], [0.991, 0.2, 1.0], [0.1, 0.2, 0.3], [0.9, 0.9, 0.0]])
    cost = jnp.array([1, 2, 3])
    np.testing.assert_array_equal(cheapest(score, cost, 0.99), [2, 0, 2, 0])
    np.testing.assert_array_equal(cheapest(score, cost, 0.98), [1, 0, 2, 0])
    np.testing.assert_array_equal(cheapest(score, cost[::-1], 0.6), [2, 2, 2, 2])  # dearest first
    assert (np.asarray(cheapest(jnp.asarray(np.random.default_rng(0).random((50, 4))), jnp.arange(4), 1.0)) <= 3).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(threshold=0.0), "threshold=0.0"),
        (dict(threshold=1.1), "threshold=1.1"),
        (dict(budget=-1), "budget=-1"),
        (dict(shares=(1.0,)), "shares="),
        (dict(rates=(1.0, 0.0)), "rates="),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=f"scheme 'visor': .*{message}"):
        Visor(**options)
    with pytest.raises(ValueError, match="1 epochs leave a stage"):
        Visor().stages(1)


def test_stages_have_their_shares_and_rates():
    first, second = Visor(shares=(2, 1), rates=(0.5, 3.0)).stages(9)
    assert (first.epochs, first.rate, second.epochs, second.rate) == (6, 0.5, 3, 3.0)
    all_epochs, none = Visor(budget=1, rates=(0.5, 3.0)).stages(9)
    assert (all_epochs.epochs, all_epochs.rate, none.epochs) == (9, 0.5, 0)


def test_another_fusion_is_refused_by_name():
    data, plan = planted({"scheme.name": "visor", "training.epochs": 4})
    with pytest.raises(
        ValueError, match="scheme 'visor' trains budgets of fusion 'visor', not 'mean': set model.fusion.name"
    ):
        train_model(plan, data, prepare(plan.data, data, (0,), **plan.preparing))


@pytest.mark.parametrize(
    ("fusion", "scheme", "message"),
    [
        (dict(layers=3, budget=1), {}, "the fusion has budget=1: leave it out there"),
        (dict(layers=3), dict(budget=2), "budget=2, expected 0 to 1, the layers"),
    ],
)
def test_budgets_that_contradict_are_refused(fusion, scheme, message):
    changes = {"scheme.name": "visor", "scheme.options": scheme, "model.fusion.name": "visor"}
    data, plan = planted({**changes, "model.fusion.options": fusion, "training.epochs": 4})
    with pytest.raises(ValueError, match=message):
        train_model(plan, data, prepare(plan.data, data, (0,), **plan.preparing))


def test_one_network_is_evaluated_at_the_budget_that_is_asked_for():
    """Trained alike, with the budget drawn; what is said at the end differs by the budget alone."""
    found = []
    for budget in (0, 1):
        changes = {"scheme.name": "visor", "scheme.options": dict(budget=budget), "model.fusion.name": "visor"}
        options = dict(layers=3, heads=2, hidden=8)
        data, plan = planted({**changes, "model.fusion.options": options, "training.epochs": 4, "training.chunk": 4})
        found.append(train_model(plan, data, prepare(plan.data, data, (0,), **plan.preparing)))
    assert [
        int(nnx.merge(c.graphdef, *jax.tree.map(lambda a: a[0], (c.params, c.rest))).fusion.mode[...]) for c in found
    ] == [0, 1]
    for a, b in zip(*(jax.tree.leaves(cell.params) for cell in found), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(found[0].prediction != found[1].prediction)


def test_its_models_have_the_size_of_a_row_without_it():
    changes = {"scheme.name": "visor", "model.fusion.name": "visor", "size.like": "concat_mlp", "model.dim": 24}
    data, plan = planted({**changes, "model.fusion.options": dict(layers=3, heads=2)})
    assert at_its_size(plan, data).model.dim != plan.model.dim


@pytest.fixture(scope="module")
def trained():
    options = dict(layers=3, heads=2, hidden=8)
    changes = {"scheme.name": "visor", "model.fusion.name": "visor", "model.fusion.options": options}
    data, plan = planted({**changes, "training.epochs": 8, "training.chunk": 8})
    prepared = prepare(plan.data, data, (0,), **plan.preparing)
    return data, prepared, train_model(plan, data, prepared)


def test_evaluation_says_what_training_said_and_labels_come_from_training_rows(trained):
    _, prepared, cell = trained
    params, rest = jax.tree.map(lambda a: a[0], (cell.params, cell.rest))
    model = nnx.merge(cell.graphdef, params, rest)
    trial, target = jax.tree.map(lambda a: a[0], (prepared.trials, prepared.target))
    assert int(model.fusion.mode[...]) == CHOSEN
    batch = scaled(prepared.batch, trial)
    np.testing.assert_allclose(model(batch).prediction, cell.prediction[0], rtol=1e-4, atol=1e-5)
    label, weight = np.asarray(model.labels[...]), np.asarray(trial.train_weight)
    assert not label[weight == 0].any() and label.max() <= 1
    wrong = type(target)("classes", labels=jnp.where(weight > 0, target.labels, 1 - target.labels), num_outputs=2)
    np.testing.assert_array_equal(
        scores(model, batch, target, jnp.asarray(weight)), scores(model, batch, wrong, jnp.asarray(weight))
    )


def test_the_policys_labels_are_of_the_model_it_chooses_for(trained):
    """Only the policy moves in the second stage, so that the scores are what they were when they were labelled."""
    _, prepared, cell = trained
    params, rest = jax.tree.map(lambda a: a[0], (cell.params, cell.rest))
    model = nnx.merge(cell.graphdef, params, rest)
    trial, target = jax.tree.map(lambda a: a[0], (prepared.trials, prepared.target))
    weight = jnp.asarray(trial.train_weight)
    found = scores(model, scaled(prepared.batch, trial), target, weight)
    label = np.asarray(cheapest(found, jnp.arange(found.shape[1]), 0.99))
    np.testing.assert_array_equal(label[np.asarray(weight) > 0], np.asarray(model.labels[...])[np.asarray(weight) > 0])
