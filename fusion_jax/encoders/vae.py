"""A variational autoencoder fuses the feature sets of one modality into one latent vector.

Reference: Mondal et al., "BioFusionNet", 2024; code raktim-mondol/BioFusionNet at 59bc596 (`VAE.py`). Golden
`biofusionnet/vae`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.records import EVALUATION, Array, Info


class VAE(Encoder):
    """y = mu(x) = W_21 h + b_21, h = relu(W_1 x + b_1), learned by reconstructing x.

        logvar = W_22 h + b_22; z = mu + eps exp(logvar / 2); recon = W_4 relu(W_3 z + b_3) + b_4
        loss = |recon - x|^2 + beta (-1/2) sum(1 + logvar - mu^2 - exp(logvar)), sums over the width

    The paper trains it first, alone, and hands mu on. Here it trains beside the rest, on its own loss only (the
    task's gradient stops at mu), so that what the rest sees ends where the two stages end; `joint` lets the
    task's gradient through. The loss is averaged over the nodes that have the modality, and summed over
    modalities; the code sums over nodes too, which `weight` can make up for.

    Args:
        hidden: width of h, 2 D if None (the paper: 512 between 1152 and 256).
        beta: factor on the divergence.
        weight: of the loss beside the task's.
        joint: whether the task trains the encoder too.
    """

    info = Info(
        "Mondal et al., BioFusionNet: Survival Risk Stratification in ER+ Breast Cancer Through Multifeature and "
        "Multimodal Data Fusion",
        2024,
        pinned="authors' code",
        golden="biofusionnet",
        cost="O(N (d + D) D)",
    )

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        hidden: int | None = None,
        beta: float = 1.0,
        weight: float = 1.0,
        joint: bool = False,
        rngs: nnx.Rngs,
    ):
        hidden = 2 * dim if hidden is None else hidden
        self.fc1 = nnx.Linear(in_dim, hidden, rngs=rngs)
        self.fc21, self.fc22 = nnx.Linear(hidden, dim, rngs=rngs), nnx.Linear(hidden, dim, rngs=rngs)
        self.fc3, self.fc4 = nnx.Linear(dim, hidden, rngs=rngs), nnx.Linear(hidden, in_dim, rngs=rngs)
        self.beta, self.weight, self.joint = beta, weight, joint

    def encode(self, x: Array) -> tuple[Array, Array]:
        """mu and logvar, [N, D] each."""
        h = jax.nn.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def decode(self, z: Array) -> Array:
        """[N, D] -> [N, d_m]"""
        return self.fc4(jax.nn.relu(self.fc3(z)))

    def terms(self, x: Array, present: Array, eps: Array) -> tuple[Array, Array]:
        """Squared error and divergence, summed over the width and the nodes of `present` [N]; eps [N, D]."""
        mu, logvar = self.encode(x)
        error = (self.decode(sample(mu, logvar, eps)) - x) ** 2
        return jnp.where(present, error.sum(-1), 0).sum(), jnp.where(present, divergence(mu, logvar), 0).sum()

    def losses(self, x, present, context):
        shape = (x.shape[0], self.fc21.out_features)
        eps = jnp.zeros(shape, x.dtype) if context.key is None else jax.random.normal(context.key, shape, x.dtype)
        error, kld = self.terms(x, present, eps)
        count = jnp.maximum(present.sum(), 1).astype(x.dtype)
        return {"vae": self.weight * (error + self.beta * kld) / count}

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        del graph, present, context
        mu, _ = self.encode(x)
        return mu if self.joint else jax.lax.stop_gradient(mu)


def sample(mu: Array, logvar: Array, eps: Array) -> Array:
    """z = mu + eps exp(logvar / 2)."""
    return mu + eps * jnp.exp(logvar / 2)


def divergence(mu: Array, logvar: Array) -> Array:
    """KL(N(mu, exp(logvar)) | N(0, 1)) summed over the width, [N]; 0 where mu and logvar are 0."""
    return -(1 + logvar - mu**2 - jnp.exp(logvar)).sum(-1) / 2
