"""The Fisher reset of HFF-Net."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.nn.learned_laplacian import LearnedLaplacian
from fusion_jax.schemes.hff_net import HFFNet, reset


class Model(nnx.Module):
    def __init__(self):
        self.alc = LearnedLaplacian(3)


def loss_of(slopes):
    return lambda model, key: (model.alc.weight[0] * slopes).sum()


SLOPES = jnp.ones((3, 3), jnp.float32).at[1, 2].set(-9.0)


def test_reset_holds_what_matters():
    """One entry has all the information: it returns to 1, and no optimiser step moves it again."""
    model = Model()
    model.alc.kernel.set_value(jnp.full((1, 3, 3), 4.0))
    reset(model, None, None, None, loss_of(SLOPES), None)
    held = np.zeros((1, 3, 3), bool)
    held[0, 1, 2] = True
    np.testing.assert_array_equal(model.alc.held[...], held)
    np.testing.assert_array_equal(model.alc.kernel[...], np.where(held, 1, 4))
    model.alc.kernel.set_value(model.alc.kernel[...] + 1)
    np.testing.assert_array_equal(model.alc.weight, np.where(held, 1, 5))
    assert model.alc.distance() == 8 * 16
    slopes = nnx.grad(lambda m: loss_of(SLOPES)(m, None) + m.alc.distance())(model).alc.kernel[...]
    assert slopes[0, 1, 2] == 0
    assert (np.asarray(slopes)[~held] != 0).all()


def test_held_is_stored_and_no_parameter():
    _, params, rest = nnx.split(Model(), nnx.Param, ...)
    assert [".".join(path) for path, _ in nnx.to_flat_state(params)] == ["alc.kernel"]
    assert [".".join(path) for path, _ in nnx.to_flat_state(rest)] == ["alc.held"]


def test_of_a_stencil_within_each_kernel():
    """With several T_k the threshold is that of a pair of features."""
    alc = LearnedLaplacian(2, (1.0, -4.0, 1.0, 1.0, 1.0))
    fisher = jnp.full((5, 2, 2), 1.0).at[1].set(jnp.array([[5.0, 500.0], [1.0, 2.0]]))
    alc.hold(fisher)
    assert np.asarray(alc.held[...]).sum(0).tolist() == [[1, 1], [0, 1]]


def test_stages():
    before, after = HFFNet(warmup=4).stages(10)
    assert (before.epochs, before.begin, after.epochs, after.begin) == (4, None, 6, reset)
    assert (after.start, after.same_optimizer, before.keep) == ("last", True, "last")
    for warmup in (10, 40):
        (alone,) = HFFNet(warmup=warmup).stages(10)
        assert alone.begin is None and alone.epochs == 10
    (at_once,) = HFFNet(warmup=0).stages(10)
    assert at_once.begin is reset and not at_once.same_optimizer


def test_refusals():
    with pytest.raises(ValueError, match="warmup=-1"):
        HFFNet(warmup=-1)
    with pytest.raises(ValueError, match="learned Laplacians"):
        HFFNet().build(lambda dims, key: nnx.Linear(2, 2, rngs=nnx.Rngs(0)), {}, None, None)
