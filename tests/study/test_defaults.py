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
