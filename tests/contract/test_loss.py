"""What every loss must satisfy, for every file in the folder: the rules of `fusion_jax/checking/loss.py`."""

from tests.contract.cases import case, each_rule


@each_rule("loss")
def test_rule(name, rule):
    rule(case("loss", name))
