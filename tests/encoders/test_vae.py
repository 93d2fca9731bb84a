"""Identities of the VAE encoder, and that its loss reaches training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.encoders.vae import VAE, divergence
from fusion_jax.model import Model
from fusion_jax.plan import LayerPlan, Named
from fusion_jax.records import EVALUATION, Batch, Context, Target
from tests.helpers import parameters, small_graph

N, DIM = 7, 4
X = jnp.asarray(np.random.default_rng(0).normal(size=(N, 6)), jnp.float32)
PRESENT = jnp.asarray([1, 1, 0, 1, 1, 1, 0], bool)


def test_divergence():
    assert not divergence(jnp.zeros((2, 3)), jnp.zeros((2, 3))).any()
    mu, logvar = jnp.array([[0.5]]), jnp.array([[np.log(4.0)]])
    assert divergence(mu, logvar)[0] == pytest.approx(0.5 * (4 + 0.25 - 1 - np.log(4)))


def test_absent_rows_do_not_count_and_beta_and_weight_are_factors():
    module = VAE(6, DIM, beta=3.0, weight=0.5, rngs=nnx.Rngs(0))
    error, kld = (float(v) for v in module.terms(X, PRESENT, jnp.zeros((N, DIM), X.dtype)))
    assert module.losses(X, PRESENT, EVALUATION)["vae"] == pytest.approx(0.5 * (error + 3 * kld) / 5, rel=1e-6)
    other = jnp.where(PRESENT[:, None], X, 100)
    assert module.losses(other, PRESENT, EVALUATION)["vae"] == module.losses(X, PRESENT, EVALUATION)["vae"]
    assert module.losses(X, jnp.zeros(N, bool), EVALUATION)["vae"] == 0
    noisy = module.losses(X, PRESENT, context=Context(key=jax.random.key(0)))["vae"]
    assert np.isfinite(noisy) and noisy != module.losses(X, PRESENT, EVALUATION)["vae"]


@pytest.mark.parametrize("joint", [False, True])
def test_the_model_trains_it_on_its_own_loss_and_on_the_task_only_if_joint(joint):
    mask = jnp.ones((N, 2), bool).at[2, 1].set(False)
    batch = Batch({"a": X, "b": X[:, :3]}, mask, small_graph(N))
    model = Model(
        {"a": 6, "b": 3},
        Target("survival", time=np.ones(N), event=np.ones(N, bool)),
        dim=DIM,
        placement="before",
        encoder=Named("vae", {"joint": joint}),
        fusion=Named("mean"),
        layer=LayerPlan("gcn"),
        readout=Named("last"),
        layers=1,
        rngs=nnx.Rngs(0),
    )
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def grads(of):
        run = jax.grad(
            lambda p: of(nnx.merge(graphdef, p, rest, copy=True)(batch, context=Context(key=jax.random.key(1))))
        )
        return parameters(nnx.merge(graphdef, run(params), rest))

    own = grads(lambda output: output.losses["vae"])
    task = grads(lambda output: (output.prediction**2).sum())
    for name in ("encoders.0.fc1.kernel", "encoders.1.fc1.kernel"):
        assert np.asarray(own[name][...]).any() and np.asarray(task[name][...]).any() == joint
    for name in ("encoders.0.fc4.kernel", "encoders.1.fc22.kernel"):
        assert np.asarray(own[name][...]).any() and not np.asarray(task[name][...]).any()
    assert not np.asarray(own["head.kernel"][...]).any() and np.asarray(task["head.kernel"][...]).any()
