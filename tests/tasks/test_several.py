"""Several targets at once: names, rows, and what is refused."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax import metrics, tasks, zoo
from fusion_jax.metrics.base import Scored
from fusion_jax.records import EVALUATION, Output, Target
from tests.tasks.targets import ROWS, dataset, prediction, target


def output(z, **fields) -> Output:
    return Output(jnp.asarray(z), None, jnp.zeros((ROWS, 2, 4)), None, jnp.ones((ROWS, 2), bool), **fields)


def test_each_is_scored_by_itself_under_its_name():
    held = target("several")
    z = prediction(held)
    found = metrics.scores([Scored(held, z)])
    assert list(found)[:3] == ["size: rmse", "size: mae", "size: r2"] and "colour: accuracy" in found
    own = metrics.scores([Scored(held.colour, z[:, 2:])])
    assert {f"colour: {name}": value for name, value in own.items()}.items() <= found.items()
    assert tasks.of(held).primary_of(tasks.of(held).about(held)) == "size: rmse"


def test_the_width_is_the_sum_and_the_level_that_of_all():
    held = target("several")
    assert held.num_outputs == 5
    parts = {name: dataclasses.replace(part, level="graph") for name, part in held.fields.items()}
    again = tasks.of(held).convert(Target("several", fields=parts, level="node"), "here")
    assert {part.level for part in again.fields.values()} == {"node"}


def test_what_is_wrong_with_one_is_said_with_its_name():
    held = target("several")
    short = dataclasses.replace(held.colour, labels=held.colour.labels[:5])
    with pytest.raises(ValueError, match=r"field target\.colour: 5 rows; expected 120, as in the others"):
        dataset("several", target=Target("several", size=held.size, colour=short))
    other = dataclasses.replace(held.colour, labels=held.colour.labels + 1)
    with pytest.raises(ValueError, match=r"field target\.colour\.labels: row \d+ holds 3; expected a class in"):
        dataset("several", target=Target("several", size=held.size, colour=other))
    with pytest.raises(ValueError, match="class_names: 3 names; expected none, where there are several targets"):
        dataset("several", class_names=tuple("abc"))
    for fields, message in (
        ({}, "no targets; expected one or more"),
        ({"size": np.zeros(ROWS)}, r"here\.size: ndarray; expected one Target"),
        ({"both": held}, r"here\.both: 'several'; expected one Target"),
        ({"a: b": held.size}, "a name without ': '"),
    ):
        with pytest.raises(ValueError, match=message):
            tasks.of(held).convert(Target("several", fields=fields), "here")
    parts = dict(train=np.flatnonzero(held.colour.labels), val=np.array([0]), test=np.array([1]))
    with pytest.raises(ValueError, match="here, target 'colour': class 0 has no training row"):
        tasks.of(held).check_split(held, parts, "here")


def test_the_loss_is_the_mean_of_theirs_with_weights():
    held, z = target("several"), jnp.asarray(prediction(target("several")), jnp.float64)
    weight, loss = jnp.ones(ROWS), zoo.get("loss", "several")
    streams = jnp.stack([z, 2 * z], 1)
    one = zoo.get("loss", "mse")(output(z[:, :2]), held.size, weight, context=EVALUATION)
    two = zoo.get("loss", "cross_entropy")(output(z[:, 2:]), held.colour, weight, context=EVALUATION)

    def of(**options):
        return float(loss(dataclasses.replace(output(z), streams=streams), held, weight, context=EVALUATION, **options))

    assert of() == pytest.approx((one + two) / 2) and of(weights=(1.0, 3.0)) == pytest.approx((one + 3 * two) / 4)
    assert of(weights=(0.0, 2.0)) == pytest.approx(float(two))
    own = zoo.get("loss", "stream_cross_entropy")(
        dataclasses.replace(output(z[:, 2:]), streams=streams[..., 2:]), held.colour, weight, context=EVALUATION
    )
    assert of(weights=(0.0, 1.0), losses=("mse", "stream_cross_entropy")) == pytest.approx(float(own))
    for wrong in (dict(weights=(1.0,)), dict(losses=("mse",)), dict(weights=(-1.0, 2.0)), dict(weights=(0.0, 0.0))):
        with pytest.raises(ValueError, match="loss 'several': weights="):
            of(**wrong)


def test_targets_may_have_the_names_of_fields_and_count_in_the_fingerprint():
    held = target("several")
    named = Target("several", labels=held.colour, values=held.size)
    found = dataset("several", target=named)
    assert found.fingerprint != dataset("several").fingerprint
    changed = Target("several", labels=held.colour, values=dataclasses.replace(held.size, values=held.size.values * 2))
    assert dataset("several", target=changed).fingerprint != found.fingerprint


def test_the_parts_that_about_describes_have_the_columns_of_a_prediction():
    colour = Target("classes", labels=np.array([0, 1]), num_outputs=2)
    size = Target("values", values=np.zeros((2, 3)), num_outputs=3)
    target = Target("several", num_outputs=5, fields=dict(colour=colour, size=size))
    task = tasks.of(target)
    found = [(name, part["kind"], where) for name, part, where in task.parts_of(task.about(target))]
    assert found == [("colour", "classes", slice(0, 2)), ("size", "values", slice(2, 5))]
    assert [name for name, *_ in task.parts(target)] == ["colour", "size"]
