"""What every token mixer must satisfy, for every file in the folder: the rules of `fusion_jax/checking/mixer.py`."""

from tests.contract.cases import case, each_rule


@each_rule("mixer")
def test_rule(name, rule):
    rule(case("mixer", name))
