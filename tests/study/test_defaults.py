"""The argument of a study."""

import pytest

from fusion_jax import study, zoo
from fusion_jax.study import defaults


def test_arguments_of_the_defaults():
    config = defaults.get_config("fusion=self_attention,placement=after,layer=gat,data=cora,quick")
    assert (config.model.placement, config.data.name, config.seeds) == ("after", "cora", 2)
    assert study.resolve(config).plan.model.fusion.options == zoo.options("fusion", "self_attention") != {}
    for wrong in ("fuson=gmu", "quik", "gmu"):
        with pytest.raises(ValueError, match=f"config argument '{wrong}'"):
            defaults.get_config(wrong)


def test_a_study_sets_single_options_and_a_misspelt_one_is_named():
    config = defaults.get_config()
    config.data.name, config.data.options.nodes = "synthetic", 80
    config.model.fusion.name, config.model.fusion.options.hidden = "concat_mlp", 24
    plan = study.resolve(config).plan
    assert plan.data.options == {"nodes": 80} and plan.model.fusion.options["hidden"] == 24
    config.model.fusion.options.hiden = 3
    with pytest.raises(ValueError, match="no option 'hiden' .did you mean 'hidden'"):
        study.resolve(config)
    with pytest.raises(AttributeError, match="optons"):
        config.data.optons = {}
