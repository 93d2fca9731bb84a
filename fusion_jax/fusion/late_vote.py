"""Late fusion by majority vote, every modality classified by itself.

Reference: Kittler, Hatef, Duin, Matas, "On Combining Classifiers", IEEE TPAMI 20(3), 1998: the majority vote
rule. The paper leaves ties open; here the mean probability decides them.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.late import log_mean_probability
from fusion_jax.records import Array, Fused, Info


class LateVote(Fusion):
    """out_c = log((v_c + tie p_c) / (K + tie)): the log of the vote share, v_c of the K present modalities.

    v_c counts the present m with argmax x_m = c (equal logits: the first class), p is the mean over them of
    softmax(x_m). As tie < 1, no class overtakes one with more votes; among equals the larger p wins, and no
    class is at -inf. softmax(out) sums to 1. A node without modality has v = 0, K = 0 and the uniform p.
    The votes have no gradient; only p has.

    Args:
        tie: weight of the mean probability in votes, in (0, 1); softmax(out) is off the vote share by less.
    Raises:
        ValueError: tie outside (0, 1).
    """

    info = Info("Kittler et al., On Combining Classifiers (majority vote)", 1998, cost="O(N M C)")
    placements = ("decision",)
    loss = "stream_cross_entropy"
    symmetries = ("nodes", "modalities")

    def __init__(self, modalities: int, dim: int, *, tie: float = 0.01, rngs: nnx.Rngs):
        del modalities, dim, rngs  # nothing is learned
        if not 0 < tie < 1:
            raise ValueError(f"fusion 'late_vote': tie={tie} must lie in (0, 1), or it overrules votes")
        self.tie = tie

    def node(self, x, mask, context):
        del context
        ballots = jax.nn.one_hot(jnp.argmax(x, axis=-1), x.shape[-1], dtype=x.dtype)
        votes = jnp.where(mask[:, None], ballots, 0).sum(0)  # [C]
        return Fused(self.log_share(votes, log_mean_probability(x, mask)))

    def log_share(self, votes: Array, log_p: Array) -> Array:
        """log((v + tie p) / (sum v + tie)), in the log domain where v is 0, as p may underflow there."""
        share = jnp.log(jnp.where(votes > 0, votes, 1) + self.tie * jnp.exp(log_p))
        share = jnp.where(votes > 0, share, jnp.log(self.tie) + log_p)
        return share - jnp.log(votes.sum() + self.tie)
