"""The closed form of random-feature attention: it is the minimum, of the rows and targets it is to be of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.checking.inputs import planted
from fusion_jax.records import Target
from fusion_jax.run.model import train_model
from fusion_jax.schemes.random_feature_attention import RandomFeatureAttention, solved, wanted
from fusion_jax.training.prepare import prepare
from fusion_jax.training.trial import scaled

pytestmark = pytest.mark.xdist_group("training-schemes")

NAME = "random_feature_attention"


def problem(n, p, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p)), rng.normal(size=(n, 2)), rng.uniform(0.5, 2, n)


@pytest.mark.parametrize(("n", "p"), [(12, 5), (5, 12), (6, 6)])
def test_the_closed_form_is_what_long_gradient_descent_finds(n, p):
    """From either system, rows with weights, from another start than 0."""
    phi, y, w = problem(n, p)
    ridge = 0.3
    found = solved(phi, y, ridge, w)
    rate = 1 / (np.linalg.norm(np.sqrt(w)[:, None] * phi, 2) ** 2 + ridge)
    v = np.random.default_rng(1).normal(size=(p, 2))
    for _ in range(4000):
        v = v - rate * (phi.T @ (w[:, None] * (phi @ v - y)) + ridge * v)
    np.testing.assert_allclose(found, v, rtol=1e-8, atol=1e-9)


def test_both_systems_have_one_solution():
    """The dual one, which has more columns than rows, against the normal equations of the same problem."""
    phi, y, w = problem(5, 9)
    normal = np.linalg.solve(phi.T @ (w[:, None] * phi) + 0.1 * np.eye(9), phi.T @ (w[:, None] * y))
    np.testing.assert_allclose(solved(phi, y, 0.1, w), normal, rtol=1e-9, atol=1e-11)


def test_it_is_solved_in_float64():
    """Of two features that are nearly one: in float32 their normal equations have lost the difference."""
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(40, 3)).astype(np.float32)
    phi[:, 2] = phi[:, 1] + 1e-3 * phi[:, 2]
    y = phi.astype(np.float64) @ np.array([[1.0], [2.0], [-3.0]])
    np.testing.assert_allclose(solved(phi, y, 1e-12), [[1.0], [2.0], [-3.0]], rtol=1e-5)


def test_what_is_wanted_of_classes_is_one_hot():
    target = Target("classes", labels=np.array([2, 0]), num_outputs=3)
    np.testing.assert_array_equal(wanted(target), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(wanted(Target("values", values=np.array([[2.5]]))), [[2.5]])


VALUES = {"data.name": "synthetic_values", "data.options": dict(nodes=60, dim=6)}


def cell(changes, seeds=(0,)):
    options = {**RandomFeatureAttention.checked_with, "model.fusion.options": dict(heads=4)}
    data, plan = planted({**options, "training.epochs": 4, "training.chunk": 4, **changes})
    prepared = prepare(plan.data, data, seeds, **plan.preparing)
    return prepared, train_model(plan, data, prepared)


def model_of(trained, i=0):
    return nnx.merge(trained.graphdef, *jax.tree.map(lambda a: a[i], (trained.params, trained.rest)))


@pytest.mark.parametrize("data", [{}, VALUES], ids=["classes", "values"])
def test_the_gradient_of_its_objective_is_0(data):
    """Over the training rows and no other: the trained model's own features and predictions."""
    prepared, trained = cell({"scheme.name": NAME, "scheme.options": dict(ridge=0.5), **data})
    model = model_of(trained)
    trial, target = jax.tree.map(lambda a: a[0], (prepared.trials, prepared.target))
    output = model(scaled(prepared.batch, trial))
    own, stored = (np.asarray(p) for p in (output.prediction, trained.prediction[0]))
    if data:  # stored in the target's own units
        own, stored = ((p - p.mean()) / p.std() for p in (own, stored))
    np.testing.assert_allclose(own, stored, rtol=1e-4, atol=1e-5)  # predictions are float32
    (phi,) = (np.asarray(s.values, float) for s in output.states if s.name.endswith(": features"))
    weight, v = np.asarray(trial.train_weight, float), np.asarray(model.fusions[-1].V_prediction[...], float)
    residual = np.asarray(output.prediction, float) - wanted(target)
    slope = np.einsum("n,nhj,nc->hjc", weight, phi, residual) + 0.5 * v
    assert np.abs(slope).max() < 1e-4
    assert np.abs(v).max() > 0.01
    others = np.einsum("n,nhj,nc->hjc", (weight == 0).astype(float), phi, residual)
    assert np.abs(others).max() > 0.1


def test_rows_count_by_their_weight():
    prepared, trained = cell({"scheme.name": NAME})
    model = model_of(trained)
    trial, target = jax.tree.map(lambda a: a[0], (prepared.trials, prepared.target))
    batch, weight = scaled(prepared.batch, trial), trial.train_weight
    weight = weight * jnp.linspace(0.5, 3, len(weight), dtype=weight.dtype)
    RandomFeatureAttention(ridge=0.5).begin(model, batch, target, weight, None, None)
    output, v = model(batch), np.asarray(model.fusions[-1].V_prediction[...], float)
    (phi,) = (np.asarray(s.values, float) for s in output.states if s.name.endswith(": features"))
    residual = np.asarray(output.prediction, float) - wanted(target)
    slope = np.einsum("n,nhj,nc->hjc", np.asarray(weight, float), phi, residual) + 0.5 * v
    assert np.abs(slope).max() < 1e-4 < np.abs(v).max()


def test_what_is_not_said():
    assert zoo.options("scheme", NAME) == dict(ridge=0.01)


def test_w_and_what_stands_before_the_fusion_are_those_that_training_starts_from():
    """W is no parameter of any optimiser: after an epoch with decay it is what it was."""
    _, solution = cell({"scheme.name": NAME})
    _, by_gradients = cell({"training.epochs": 1})
    first, second = model_of(solution), model_of(by_gradients)
    np.testing.assert_array_equal(first.fusions[0].W[...], second.fusions[0].W[...])
    assert np.any(np.asarray(first.fusions[0].V_prediction[...] != second.fusions[0].V_prediction[...]))


def test_stages_have_no_epoch():
    (stage,) = RandomFeatureAttention().stages(100)
    assert stage.epochs == 0 and stage.begin is not None


@pytest.mark.parametrize("ridge", [0.0, -1.0])
def test_options_out_of_range_are_refused(ridge):
    with pytest.raises(ValueError, match=f"scheme 'random_feature_attention': ridge={ridge}"):
        RandomFeatureAttention(ridge=ridge)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.fusion.name": "mean", "model.fusion.options": {}, "model.head": "linear"}, "not of 'mean': set model"),
        ({"model.head": "linear"}, "the head 'linear': set model.head to 'fusion'"),
    ],
)
def test_another_model_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        cell({"scheme.name": NAME, **changes})


@pytest.mark.parametrize(("kind", "level"), [("survival", "node"), ("labels", "node"), ("classes", "graph")])
def test_other_targets_are_refused_by_name(kind, level):
    target = Target(kind, labels=jnp.zeros(3, jnp.int32), num_outputs=2, level=level)
    with pytest.raises(ValueError, match=f"values of nodes or classes of nodes, got {kind} of {level}s"):
        zoo.make("scheme", NAME).build(None, {}, target, None)
