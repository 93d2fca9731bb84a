"""Mixture of modality experts: every modality has experts, one noisy top-k gate picks among those present.

Reference: Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer",
ICLR 2017, over experts that belong to modalities. The numbers come from a re-implementation of the layer,
laekov/fastmoe at ee3c5615a5588c65273a512de82f19ca287e1bdf (`fmoe/gates/noisy_gate.py` and the plain experts
of `tests/moe.py`; Apache-2.0), on the concatenated modalities with experts whose weights are 0 outside their
modality. Golden `moe/training` and `moe/evaluation`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.attention import masked_softmax
from fusion_jax.nn.init import stack
from fusion_jax.nn.mlp import MLP
from fusion_jax.records import Array, Attention, Fused, Info

NOISE_EPSILON = 1e-2  # smallest standard deviation of the gate's noise


def cv_squared(x: Array) -> Array:
    """Squared coefficient of variation of x [K] (variance with K - 1), 0 for one entry."""
    if x.shape[0] == 1:
        return jnp.zeros((), x.dtype)
    return x.var(ddof=1) / (x.mean() ** 2 + 1e-10)


def chance_in_top_k(clean: Array, noisy: Array, std: Array, present: Array, k: int) -> Array:
    """Chance that each expert is among the top k if its own noise is drawn again (appendix A), [N, K].

    An absent expert has 0; where at most k are present they have 1.
    """
    top = jax.lax.top_k(jnp.where(present, noisy, -jnp.inf), k + 1)[0]
    contested = jnp.isfinite(top[:, k:])  # [N, 1], more than k present
    top = jnp.where(jnp.isfinite(top), top, 0)
    others_kth = jnp.where(noisy > top[:, k:], top[:, k:], top[:, k - 1 : k])
    chance = jax.scipy.stats.norm.cdf((clean - others_kth) / std)
    return jnp.where(present, jnp.where(contested, chance, 1), 0)


class MoE(Fusion):
    """out = sum_(m, e) g_me E_me(x_m), g = softmax of the k largest of G [x_1; ...; x_M], 0 for the others.

    E_me(x) = W2 relu(W1 x + b1) + b2. In training the logits of the gate get Gaussian noise with standard
    deviation softplus(F [x_1; ...; x_M]) + 0.01. Experts of a missing modality cannot be chosen. The loss
    "balance" is balance (CV^2(importance) + CV^2(load)): importance sums the gates of an expert over the
    nodes, load the chances that it is chosen (in evaluation, and where all are chosen, the nodes that chose
    it), K = M * experts of them; a modality that is often missing has experts of low load, which this loss
    cannot repair. Attention "gates" [N, M experts] is g, the experts of the first modality first.

    Args:
        experts: number of experts a modality has.
        k: how many experts a node uses, 1 <= k <= M * experts; fewer where fewer are present.
        hidden: width inside the experts, 2 D if None.
        balance: weight of the two balancing losses (the paper's w_importance = w_load); 0 adds no loss.
    Raises:
        ValueError: k out of range.
    """

    info = Info(
        "Shazeer et al., Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer",
        2017,
        pinned="stand-in",
        golden="moe",
        cost="O(N M experts D hidden)",
    )

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        experts: int = 2,
        k: int = 2,
        hidden: int | None = None,
        balance: float = 0.1,
        rngs: nnx.Rngs,
    ):
        total = modalities * experts
        if not 1 <= k <= total:
            raise ValueError(f"fusion 'moe': k={k}, expected 1 to M * experts = {total}")
        hidden = 2 * dim if hidden is None else hidden
        self.experts = stack(lambda r: MLP(dim, hidden, rngs=r), total, rngs)
        zero = nnx.initializers.zeros_init()  # the paper's start: noise alone decides, so loads are equal
        self.w_gate = nnx.Linear(modalities * dim, total, use_bias=False, kernel_init=zero, rngs=rngs)
        self.w_noise = nnx.Linear(modalities * dim, total, use_bias=False, kernel_init=zero, rngs=rngs)
        self.each, self.k, self.balance = experts, k, balance

    def gate(self, x: Array, mask: Array, noise: Array | None = None) -> tuple[Array, Array]:
        """Gates g [N, K] and CV^2(importance) + CV^2(load); noise is standard normal [N, K], or None."""
        flat = jnp.where(mask[..., None], x, 0).reshape(x.shape[0], -1)
        present = jnp.repeat(mask, self.each, axis=1)  # [N, K]
        clean = self.w_gate(flat)
        std = jax.nn.softplus(self.w_noise(flat)) + NOISE_EPSILON
        logits = clean if noise is None else clean + noise * std
        top = jax.lax.top_k(jnp.where(present, logits, -jnp.inf), self.k)[1]
        chosen = jax.nn.one_hot(top, clean.shape[1], dtype=bool).any(1) & present
        gates = masked_softmax(logits, chosen)
        if noise is not None and self.k < clean.shape[1]:
            load = chance_in_top_k(clean, logits, std, present, self.k).sum(0)
        else:
            load = chosen.sum(0).astype(x.dtype)
        return gates, cv_squared(gates.sum(0)) + cv_squared(load)

    def mix(self, x: Array, mask: Array, noise: Array | None = None) -> tuple[Array, Array, Array]:
        """out [N, D], gates [N, K] and the unweighted loss."""
        gates, loss = self.gate(x, mask, noise)
        inputs = jnp.repeat(jnp.moveaxis(x, 1, 0), self.each, axis=0)  # [K, N, D]
        outputs = jax.vmap(lambda expert, z: expert(z))(self.experts, inputs)
        return jnp.einsum("nk,knd->nd", gates, outputs), gates, loss

    def nodes(self, x, mask, graph, context):
        del graph
        shape = (x.shape[0], self.w_gate.out_features)
        noise = None if context.key is None else jax.random.normal(context.key, shape, x.dtype)
        out, gates, loss = self.mix(x, mask, noise)
        losses = {"balance": self.balance * loss} if self.balance else {}
        present = jnp.repeat(mask, self.each, axis=1)
        shares = Attention("gates", gates, ("node", "expert"), "node", "expert", valid=present)
        return Fused(out, attention=(shares,), losses=losses)
