"""What every graph layer must satisfy, for every file in the folder: the rules of `fusion_jax/checking/layer.py`."""

from tests.contract.cases import case, each_rule


@each_rule("layer")
def test_rule(name, rule):
    rule(case("layer", name))
