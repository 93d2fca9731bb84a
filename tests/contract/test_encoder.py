"""What every encoder must satisfy, for every file of the folder: the rules of `fusion_jax/checking/encoder.py`."""

from tests.contract.cases import case, each_rule


@each_rule("encoder")
def test_rule(name, rule):
    rule(case("encoder", name))
