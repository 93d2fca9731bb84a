"""The L2 term of the loss: which parameters, in which stages, and that selection does not see it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.training.build import build_penalty, l2
from tests import tiny

SEEDS = (0, 1)
STILL = dict(optimizer__learning_rate=1e-30, training__epochs=3)  # steps too short to move a float32
DESCENT = dict(optimizer__name="sgd", optimizer__options={}, optimizer__learning_rate=0.5, training__epochs=1)


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


def by_name(trained) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(trained.params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(x, float) for path, x in leaves}


def half_squares(parameters, *parts) -> np.ndarray:
    """[S], sum theta^2 / 2 over the parameters whose names start so."""
    chosen = [x for name, x in parameters.items() if name.startswith(parts)]
    return sum((x.reshape(len(x), -1) ** 2).sum(1) for x in chosen) / 2


def test_it_sums_the_parts_that_are_named():
    params = {"encoders": [{"w": jnp.array([3.0])}], "layers": [{"w": jnp.full((2,), i + 1.0)} for i in range(11)]}
    assert l2(0.5, (), params) == 0.25 * (9 + 2 * sum((i + 1) ** 2 for i in range(11)))
    assert l2(0.5, ("layers.1",), params) == 0.25 * 2 * 4, "and not layers.10"
    assert l2(0.5, ("layers.1", "encoders", "encoders.0"), params) == 0.25 * (8 + 9), "each parameter once"
    with pytest.raises(ValueError, match="loss.l2_parts: the model has no part 'layer'.*it has: encoders.0.w"):
        l2(0.5, ("layers", "layer"), params)
    assert build_penalty(tiny.cell().plan.loss) is None


@pytest.mark.parametrize(("parts", "prefix"), [((), ""), (("layers.0", "head"), ("layers.0.", "head."))])
def test_it_is_in_the_training_loss_and_not_in_selection(data, parts, prefix):
    plain = tiny.train(data, SEEDS, **STILL)
    with_l2 = tiny.train(data, SEEDS, **STILL, loss__l2=0.1, loss__l2_parts=parts)
    added = with_l2.history["train_loss"] - plain.history["train_loss"]
    term = 0.1 * half_squares(by_name(plain), *((prefix,) if isinstance(prefix, str) else prefix))
    assert (term > 0.01).all()
    np.testing.assert_allclose(added, np.repeat(term[:, None], 3, 1), rtol=1e-4)
    for name in ("val_loss", "val_score"):
        np.testing.assert_array_equal(with_l2.history[name], plain.history[name])


def test_its_gradient_is_strength_times_the_parameter(data):
    start = by_name(tiny.train(data, SEEDS, **{**DESCENT, "optimizer__learning_rate": 1e-30}))
    plain, with_l2 = (
        by_name(tiny.train(data, SEEDS, **DESCENT, loss__l2=s, loss__l2_parts=("layers",))) for s in (0.0, 0.1)
    )
    for name, theta in start.items():
        if name.startswith("layers."):
            np.testing.assert_allclose(plain[name] - with_l2[name], 0.5 * 0.1 * theta, rtol=1e-3, atol=1e-6)
        else:
            np.testing.assert_array_equal(plain[name], with_l2[name])


def test_every_stage_of_a_scheme_has_it(data):
    scheme = dict(STILL, scheme__name="mpfnet", scheme__options={"shares": (1, 1, 1), "kappa": 0.0, "shots": 1})
    plain, with_l2 = (tiny.train(data, SEEDS, **scheme, loss__l2=s) for s in (0.0, 0.1))
    added = with_l2.history["train_loss"] - plain.history["train_loss"]
    assert added.shape == (2, 3) and (added > 0.01).all()
