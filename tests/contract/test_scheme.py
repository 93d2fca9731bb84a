"""What every scheme must satisfy, for every file in the folder: the rules of `fusion_jax/checking/scheme.py`."""

import pytest

from tests import tiny
from tests.contract.cases import case, each_rule


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@each_rule("scheme")
def test_rule(name, rule):
    rule(case("scheme", name))
