"""F1 of several labels a row against scikit-learn, of all together and label by label."""

import numpy as np
import pytest
from sklearn import metrics as sk

from fusion_jax.metrics.base import Scored
from fusion_jax.records import Target
from tests.metrics import made


def drawn(seed: int) -> tuple[Scored, np.ndarray, np.ndarray]:
    """Rows, and which labels they have and are given; of some seeds a label that nothing has."""
    rng = np.random.default_rng(seed)
    true, z = rng.random((15, 4)) < 0.4, rng.normal(size=(15, 4))
    if seed % 3 == 0:
        true[:, 2], z[:, 2] = False, -1
    return Scored(Target("labels", labels=true, num_outputs=4), z), true, z > 0


@pytest.mark.parametrize("seed", range(9))
def test_they_are_scikit_learns(seed):
    rows, true, given = drawn(seed)
    assert made.value("micro_f1", rows) == pytest.approx(sk.f1_score(true, given, average="micro"), abs=1e-12)
    occurs = (true | given).any(0)
    expected = sk.f1_score(true[:, occurs], given[:, occurs], average="macro")
    assert made.value("macro_f1", rows) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_their_influences_are_their_derivatives(seed):
    rows, true, given = drawn(seed)
    occurs = (true | given).any(0)
    made.check_influence("micro_f1", rows, lambda w: sk.f1_score(true, given, average="micro", sample_weight=w))
    made.check_influence(
        "macro_f1", rows, lambda w: sk.f1_score(true[:, occurs], given[:, occurs], average="macro", sample_weight=w)
    )


def test_nothing_had_and_nothing_given_is_0():
    rows = Scored(Target("labels", labels=np.zeros((3, 2), bool), num_outputs=2), np.full((3, 2), -1.0))
    assert made.value("micro_f1", rows) == 0 and made.influence("micro_f1", rows) is None
