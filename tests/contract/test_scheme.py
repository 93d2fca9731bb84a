"""What every scheme must satisfy, for every file found in the folder."""

import jax
import numpy as np
import pytest

from fusion_jax import zoo
from tests import tiny
from tests.contract.cases import each

EPOCHS = 12


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@pytest.mark.parametrize("name", each("scheme"))
def test_its_stages_stay_within_the_epochs(name):
    for epochs in (EPOCHS, 200):
        stages = zoo.make("scheme", name).stages(epochs)
        assert stages and sum(stage.epochs for stage in stages) <= epochs


@pytest.mark.parametrize("name", each("scheme"))
def test_what_a_step_sees_has_the_form_of_the_batch(name):
    data, plan = tiny.dataset(), tiny.cell(scheme__name=name).plan
    batch = tiny.prepared(plan, data, (0,)).batch
    for stage in zoo.make("scheme", name).stages(200):
        seen = jax.eval_shape(stage.transform, batch, jax.random.key(0))
        assert jax.tree.map(lambda a: (a.shape, a.dtype), seen) == jax.tree.map(lambda a: (a.shape, a.dtype), batch)


@pytest.mark.parametrize("name", each("scheme"))
def test_a_seed_alone_is_that_seed_among_others(name):
    data, changes = tiny.dataset(), dict(scheme__name=name, training__epochs=EPOCHS, training__chunk=EPOCHS)
    both, alone = (tiny.train(data, seeds, **changes) for seeds in ((0, 1), (1,)))
    assert np.isfinite(both.prediction).all()
    np.testing.assert_allclose(alone.prediction[0], both.prediction[1], rtol=1e-4, atol=1e-5)
