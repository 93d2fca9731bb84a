"""Configs of schema 2 and of today are one thing in two layouts."""

import copy
import json

import pytest

from fusion_jax import study
from fusion_jax.study.layout import LATER, RENAMED, of_then, of_today
from tests import tiny

CHANGED = dict(
    per_seed=("init",),
    size__like="concat_mlp",
    size__parameters=0,
    optimizer__rate_steps=((3, 0.5),),
    optimizer__part_rates={"fusions": 0.1},
    training__snapshots=4,
    data__scale="column",
    training__select="last",
)


@pytest.mark.parametrize("changes", [{}, CHANGED, dict(size__parameters=500)], ids=["plain", "changed", "parameters"])
def test_there_and_back_is_the_config(changes):
    config = tiny.cell(**changes).config
    before = copy.deepcopy(config)
    then = of_then(config)
    assert of_today(then) == config == before, "and the given one is left as it was"
    assert of_today(config) == config, "of today already"
    assert json.loads(json.dumps(then)) == then


def test_the_layout_of_then_has_the_names_and_values_of_then():
    then = study.flatten(of_then(tiny.cell(**CHANGED).config))
    assert then["vary"] == ["init"] and then["match_params"] == "concat_mlp"
    assert then["optimizer.steps"] == [[3, 0.5]] and then["optimizer.factors.fusions"] == 0.1
    assert not {key for key in then if key.startswith(("size", "per_seed", "optimizer.rate", "optimizer.part"))}
    assert then["training.snapshots"] == 4, "a later key stands where it says more"
    plain = study.flatten(of_then(tiny.cell().config))
    assert "training.snapshots" not in plain and plain["match_params"] == ""
    assert (plain["training.select"], plain["data.scale"]) == ("accuracy", "view")


def test_every_later_key_is_a_key_of_today_with_the_default_it_has():
    known = study.flatten(study.defaults.get_config().to_dict())
    assert {key: known[key] for key in LATER} == LATER
    assert set(RENAMED) <= set(known)
