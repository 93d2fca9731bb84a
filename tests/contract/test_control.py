"""What every control must satisfy, for every file found in the folder (more of it in `tests/controls`)."""

import dataclasses

import numpy as np
import pytest

from fusion_jax.run.control import fit_control
from tests import tiny
from tests.contract.cases import each


@pytest.mark.parametrize("name", each("control"))
def test_scores_are_finite_and_no_label_outside_training_matters(name):
    data, plan = tiny.dataset(), tiny.cell(control__name=name).plan
    ready = tiny.prepared(plan, data, (0,))
    scores, _ = fit_control(plan, data, ready)
    assert scores.shape == (1, data.num_nodes, 2) and np.isfinite(scores).all()
    labels = 1 - np.asarray(data.target.labels)
    labels[ready.splits[0].train] = data.target.labels[ready.splits[0].train]
    other = dataclasses.replace(data, target=dataclasses.replace(data.target, labels=labels))
    np.testing.assert_array_equal(fit_control(plan, other, ready)[0], scores)
