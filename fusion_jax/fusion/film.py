"""Feature-wise linear modulation: the other modalities scale and shift the hidden layers of an anchor.

Reference: Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018; code
ethanjperez/film at fe43ddf8a22b339dcca2efa07091ce9d498955cf (`vr/models/film_gen.py`, `filmed_net.py`;
CC BY-NC 4.0), run on maps of one pixel with kernel size 1. Golden `film/filmed_net` (evaluation),
`filmed_net_training` (statistics of the batch) and `filmed_net_no_batchnorm`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.norm import MaskedBatchNorm
from fusion_jax.records import Array, Fused, Info, Tokens


class FilmedBlock(nnx.Module):
    """u = relu(P x + p), y = u + relu(drop(gamma * norm(C u + c) + beta))."""

    def __init__(self, dim: int, *, batch_norm: bool, rate: float, rngs: nnx.Rngs):
        he = nnx.initializers.he_uniform()
        self.input_proj = nnx.Linear(dim, dim, kernel_init=he, rngs=rngs)
        self.conv1 = nnx.Linear(dim, dim, kernel_init=he, rngs=rngs)
        # without scale and shift of its own: gamma and beta take their place
        self.bn1 = MaskedBatchNorm(dim, affine=False, rngs=rngs) if batch_norm else None
        self.rate = rate

    def __call__(self, x: Array, film: Array, mask: Array, *, key: Array | None = None) -> Array:
        """x [N, D]; film [N, 2, D], gamma and beta; mask bool [N], the rows the batch statistics count."""
        gamma, beta = film[:, 0], film[:, 1]
        u = jax.nn.relu(self.input_proj(x))
        y = self.conv1(u)
        if self.bn1 is not None:
            y = self.bn1(y, mask, training=key is not None)
        return u + jax.nn.relu(dropout(gamma * y + beta, self.rate, key))


class Film(Fusion):
    """h_0 = x_a; h_l = block_l(h_{l-1}; gamma_l, beta_l); out = h_L;
    [gamma_1 - 1; beta_1; ...; gamma_L - 1; beta_L] = F [x_j]_{j != a} + f.

    Where the paper's generator reads the last state of a question's GRU, F reads the concatenation of the
    other modalities, zeros where they are missing; so a node without any gets the learned f alone. A missing
    anchor enters as zeros and is not counted in the batch statistics. The states "gamma" and "beta" are [N, L, D].

    Args:
        anchor: index of the modulated modality, 0 <= a < M.
        blocks: L, modulated residual blocks.
        batch_norm: whether blocks normalise before modulating, as the published model does.
        rate: dropout in the blocks, after modulating.
    Raises:
        ValueError: the anchor is no modality.
    """

    info = Info(
        "Perez et al., FiLM: Visual Reasoning with a General Conditioning Layer",
        2018,
        pinned="authors' code",
        golden="film",
        cost="O(N L M D^2)",
    )

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        anchor: int = 0,
        blocks: int = 4,
        batch_norm: bool = True,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        if not 0 <= anchor < modalities:
            raise ValueError(f"fusion 'film': anchor={anchor} is none of the M={modalities} modalities")
        width = (modalities - 1) * dim
        # nothing to be modulated by if M = 1: a matrix without rows, for which he_uniform divides by 0
        init = nnx.initializers.he_uniform() if width else nnx.initializers.zeros_init()
        self.decoder_linear = nnx.Linear(width, blocks * 2 * dim, kernel_init=init, rngs=rngs)
        self.blocks = nnx.List([FilmedBlock(dim, batch_norm=batch_norm, rate=rate, rngs=rngs) for _ in range(blocks)])
        self.anchor = anchor

    def modulation(self, x: Array, mask: Array) -> Array:
        """gamma and beta of every block from the modalities other than the anchor, [N, L, 2, D]."""
        others = jnp.delete(jnp.where(mask[..., None], x, 0), self.anchor, axis=1)
        film = self.decoder_linear(others.reshape(x.shape[0], -1))
        film = film.reshape(x.shape[0], len(self.blocks), 2, x.shape[-1])
        return film.at[:, :, 0].add(1)  # gamma_baseline: a generator of zeros changes nothing

    def nodes(self, x, mask, graph, context):
        del graph
        film, present = self.modulation(x, mask), mask[:, self.anchor]
        h = jnp.where(present[:, None], x[:, self.anchor], 0)
        for i, (block, k) in enumerate(zip(self.blocks, split_key(context.key, len(self.blocks)), strict=True)):
            h = block(h, film[:, i], present, key=k)
        there = jnp.ones(film.shape[:2], bool)
        names = enumerate(("gamma", "beta"))
        return Fused(h, states=tuple(Tokens(name, film[:, :, i], there, "block") for i, name in names))
