"""Dotted keys: what can be set, in which form, and what is refused by name."""

import functools
import json

import numpy as np
import pytest

from fusion_jax import study
from tests import tiny


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


def one_cell(overrides, add):
    add(overrides)


SAME = [
    ("optimizer.learning_rate", 0.25, [np.float64(0.25), np.float32(0.25), np.float16(0.25), np.array(0.25)]),
    ("optimizer.learning_rate", 1.0, [1, np.int64(1), np.array(1), np.uint8(1)]),
    ("model.dim", 16, [16.0, np.int8(16), np.float64(16), np.array(16), np.logspace(0, 4, 5, base=2)[4]]),
    ("seeds", 3, [np.int64(3), 3.0]),
    ("model.rate", 0.0, [-0.0, 0, np.float32(-0.0)]),
    ("optimizer.decay", True, [np.bool_(True), np.array(True)]),
    ("model.layer.name", "gcn", [np.str_("gcn")]),
    ("data.modalities", ("m1", "m0"), [["m1", "m0"], np.array(["m1", "m0"])]),
    (
        "optimizer.rate_steps",
        ((10, 0.5), (20, 1.0)),
        [np.array([[10, 0.5], [20, 1]]), ((10.0, np.float32(0.5)), (20, 1))],
    ),
    ("optimizer.options", dict(weight_decay=0.0), [dict(weight_decay=0), dict(weight_decay=np.float32(-0.0))]),
    ("optimizer.part_rates", dict(fusions=2.0), [dict(fusions=2), dict(fusions=np.int32(2))]),
    ("loss.extra", dict(evidential=1.0), [dict(evidential=1), dict(evidential=np.array(1))]),
    ("model.fusion.options", dict(beta=2.0, main=1), [dict(beta=2, main=1.0), dict(beta=np.int8(2), main=np.int8(1))]),
    ("model.fusion.options.beta", 2.0, [2, np.float32(2), np.array(2)]),
    ("data.options", {**tiny.DATA, "missing": 0.0}, [{**tiny.DATA, "missing": np.int64(0), "nodes": 60.0}]),
]


@pytest.mark.parametrize(("key", "plain", "others"), SAME, ids=[case[0] for case in SAME])
def test_one_number_in_any_form_is_one_cell(key, plain, others):
    """NumPy's numbers, arrays of no dimension, integers for floats, whole floats for integers, -0.0."""
    config = tiny.config(model__fusion__name="mag")
    cells = [study.expand(config, functools.partial(one_cell, {key: value}))[0] for value in (plain, *others)]
    text = json.dumps(cells[0].config, sort_keys=True)
    assert all(json.dumps(c.config, sort_keys=True) == text and c.seeds == cells[0].seeds for c in cells)
    assert len({c.identity("") for c in cells}) == 1


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.dmi", 3, "no config key 'model.dmi' (did you mean 'model.dim'?)"),
        ("vary", ("init",), "no config key 'vary' (it is called 'per_seed' now)"),
        ("match_params", "mean", "no config key 'match_params' (it is called 'size.like' now)"),
        ("optimizer.steps", (), "no config key 'optimizer.steps' (it is called 'optimizer.rate_steps' now)"),
        ("optimizer.factors", {}, "no config key 'optimizer.factors' (it is called 'optimizer.part_rates' now)"),
        ("optimizer.factors.fusions", 2.0, "no config key 'optimizer.factors.fusions'"),
        ("modle.dim", 3, "no config key 'modle.dim' (did you mean 'model.dim'?)"),
        ("model.dim.x", 3, "no config key 'model.dim.x'"),
        ("epochs", 3, "no config key 'epochs' (did you mean 'training.epochs'?)"),
        ("model.dim", "64", "'model.dim' is '64', expected an int such as 8"),
        ("model.dim", 6.5, "'model.dim' is 6.5, expected an int"),
        ("model.dim", True, "'model.dim' is True, expected an int"),
        ("loss.class_weights", 1, "'loss.class_weights' is 1, expected a bool"),
        ("per_seed", "init", "'per_seed' is 'init', expected a tuple"),
        ("model.fusion", "gmu", "expected a ConfigDict"),
        ("model.dim", np.array([8, 16]), "'model.dim' is [8, 16], expected an int"),
        ("model.dim", None, "'model.dim' is None, expected an int"),
        ("optimizer.learning_rate", True, "'optimizer.learning_rate' is True, expected a float"),
        ("optimizer.learning_rate", 1j, "'optimizer.learning_rate' is 1j, expected a number"),
        ("optimizer.learning_rate", np.datetime64("2020-01-01"), "'optimizer.learning_rate' is datetime.date"),
        ("model.fusion.options", {"heads": {1, 2}}, "'model.fusion.options.heads' is {1, 2}, expected a number"),
        ("model.fusion", "gmu", "'model.fusion' is 'gmu', expected a ConfigDict; set one of model.fusion.name, "),
        ("model.fusion.options", "heads=2", "'model.fusion.options' is 'heads=2', expected a dictionary"),
    ],
)
def test_a_key_or_value_that_cannot_be_is_refused_by_name(key, value, message):
    with pytest.raises(ValueError) as error:
        study.set_key(tiny.config(), key, value)
    assert message in str(error.value)
