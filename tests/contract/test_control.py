"""What every control must satisfy, for every file in the folder: the rules of `fusion_jax/checking/control.py`."""

from tests.contract.cases import case, each_rule


@each_rule("control")
def test_rule(name, rule):
    rule(case("control", name))
