"""Several processes share a study's folder; who begins knows whether it is the first."""

import pytest
from etils import epath

from fusion_jax.results.joint import Joint
from fusion_jax.results.lease import Held
from fusion_jax.results.lock import exclusive, holders, joined


def test_it_is_shared_from_its_beginning_to_the_end_of_the_block(tmp_path):
    folder = epath.Path(tmp_path)
    with Joint(folder) as joint:
        with exclusive(folder):
            assert len(holders(folder)) == 1, "it is not begun"
        with joint.begun() as alone:
            assert alone
        with pytest.raises(Held, match="is writing results here"):
            with exclusive(folder):
                pass
    with exclusive(folder):
        with Joint(folder) as joint, pytest.raises(Held, match="is writing results here"):
            with joint.begun():
                pass


def test_what_fails_while_it_begins_shares_nothing(tmp_path):
    folder = epath.Path(tmp_path)
    with Joint(folder) as joint:
        with pytest.raises(ValueError, match="another study"):
            with joint.begun():
                raise ValueError("another study")
        with joined(folder) as alone:
            assert alone
