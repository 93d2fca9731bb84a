"""Schemes are tested as users run them."""

import pytest

from tests import tiny


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield
