"""What every readout must satisfy, for every file in the folder: the rules of `fusion_jax/checking/readout.py`."""

from tests.contract.cases import case, each_rule


@each_rule("readout")
def test_rule(name, rule):
    rule(case("readout", name))
