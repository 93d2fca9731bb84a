"""Scores independent of the input: queries and keys of one real node, values of the input.

Reference: Xue, Moosavi and Aletras, "Deconstructing Attention", 2025 (arXiv 2510.11602), section 3.4; golden
`deconstructing-attention/variants` ("fixed"), computed independently from the equations.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fusion_jax.mixers.base import PAPER, Mixer
from fusion_jax.records import Info


class FixedSeqQK(Mixer):
    """Q, K = X W_Q, X W_K with X^(l) what layer l is given when one fixed real sequence goes through the mechanism.

    As `rnd_emb_qk`, and X^(0) are the modalities of one node as the mechanism is given them before training: the first
    training node with the most of them (what it lacks is 0), or the first such node at all where rows are no nodes.
    The paper's sequence is the first 2048 tokens of a corpus, whose embeddings go on learning; ours stay (a choice of
    ours: a node's own row would make all others depend on it). 0 until `begin`.
    """

    info = Info(PAPER, 2025, golden="deconstructing-attention", cost="O(T L d), and a second pass without nodes")
    streams = True

    def __init__(self, modalities: int, dim: int, *, rngs: nnx.Rngs):
        super().__init__(modalities, dim, rngs=rngs)
        self.tokens = nnx.BatchStat(jnp.zeros((modalities, dim), jnp.float32))

    def sequence(self):
        return self.tokens[...]

    def begin(self, x, mask, train):
        count = mask.sum(1)
        chosen = count if train is None else jnp.where(train, count, -1)
        self.tokens.set_value(x[jnp.argmax(chosen)].astype(self.tokens[...].dtype))
