"""Scores independent of the input: queries and keys of a fixed random sequence, values of the input.

Reference: Xue, Moosavi and Aletras, "Deconstructing Attention", 2025 (arXiv 2510.11602), section 3.4; golden
`deconstructing-attention/variants` ("fixed"), computed independently from the equations.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.mixers.base import PAPER, Mixer
from fusion_jax.records import Info


class RndEmbQK(Mixer):
    """Q, K = X W_Q, X W_K with X^(l) what layer l is given when X^(0) = eps ~ N(0, std^2) goes through the mechanism.

    Ours: one random token a modality, drawn once a seed and never trained, beside every node, so that the scores are
    the same for all nodes and the softmax renormalises them over the modalities that a node has. Where the mechanism
    looks along edges the random tokens are those of every node: scores know a node's place in the graph at most. The
    second stream has all modalities and no dropout; gradients go through it. An attention of the mechanism whose states
    cannot be kept from one run to the next (in a loop over layers, or mapped over streams) is refused.

    Args:
        std: sigma, which the paper leaves open; behind a norm it does not matter.
    Raises:
        ValueError: std is not above 0.
    """

    info = Info(PAPER, 2025, golden="deconstructing-attention", cost="O(T L d), and a second pass without nodes")
    streams = True

    def __init__(self, modalities: int, dim: int, *, std: float = 1.0, rngs: nnx.Rngs):
        super().__init__(modalities, dim, rngs=rngs)
        if not std > 0:
            raise ValueError(f"mixer 'rnd_emb_qk': std={std!r}; expected a number above 0")
        self.tokens = nnx.BatchStat(std * jax.random.normal(rngs.params(), (modalities, dim), jnp.float32))

    def sequence(self):
        return self.tokens[...]
