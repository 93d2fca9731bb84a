"""Mean average precision against scikit-learn, with ties and labels that no row has."""

import numpy as np
import pytest
from sklearn import metrics as sk

from fusion_jax.metrics.base import Scored
from fusion_jax.metrics.mean_average_precision import average_precision
from fusion_jax.records import Target
from tests.metrics import made


@pytest.mark.parametrize("digits", [0, 1, 9])
@pytest.mark.parametrize("seed", range(5))
def test_of_one_label_it_is_scikit_learns(seed, digits):
    rng = np.random.default_rng(seed)
    positive, score = rng.random(30) < 0.3, rng.normal(size=30).round(digits)
    positive[0] = True
    expected = sk.average_precision_score(positive, score)
    assert average_precision(score, positive) == pytest.approx(expected, abs=1e-12)


def test_it_is_the_mean_over_the_labels_that_some_row_has():
    rng = np.random.default_rng(0)
    true, z = rng.random((20, 3)) < 0.5, rng.normal(size=(20, 3)).astype(np.float32)
    true[:, 1] = False
    expected = np.mean([sk.average_precision_score(true[:, c], z[:, c]) for c in (0, 2)])
    found = made.value("mean_average_precision", Scored(Target("labels", labels=true, num_outputs=3), z))
    assert found == pytest.approx(expected, abs=1e-12)
    nobody = Scored(Target("labels", labels=np.zeros((20, 3), bool), num_outputs=3), z)
    assert np.isnan(made.value("mean_average_precision", nobody))
    assert np.isnan(average_precision(z[:, 0], true[:, 1]))
