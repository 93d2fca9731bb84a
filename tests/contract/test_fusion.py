"""What every fusion must satisfy, for every file in the folder: the rules of `fusion_jax/checking/fusion.py`."""

from tests.contract.cases import case, each_rule


@each_rule("fusion")
def test_rule(name, rule):
    rule(case("fusion", name))
