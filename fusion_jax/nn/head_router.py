"""Gates that treat attention heads as experts: some always on, of the others the best few a token.

Used by the MoH mechanisms (Jin et al., "MoH: Multi-Head Attention as Mixture-of-Head Attention", 2024;
SkyworkAI/MoH, commit 2cefd57).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.records import Array


def top_k_mask(scores: Array, k: int) -> Array:
    """bool [..., E], true at the k largest scores of the last axis; of equal ones the lowest index first.

    No gradient passes: which heads run is piecewise constant in the scores.
    """
    _, chosen = jax.lax.top_k(jax.lax.stop_gradient(scores), k)
    return (chosen[..., None] == jnp.arange(scores.shape[-1], dtype=chosen.dtype)).any(-2)


def load_balance(probabilities: Array, chosen: Array, mask: Array) -> Array:
    """E sum_e P_e f_e, P and f the means of probabilities and chosen [..., E] over the tokens in mask [...].

    k where routing is uniform (k heads chosen of E), more where a few heads take all tokens; 0 without
    tokens. Gradient reaches P only.
    """
    keep = mask[..., None]
    axes = tuple(range(mask.ndim))
    count = jnp.maximum(mask.sum(), 1).astype(probabilities.dtype)
    share = jnp.where(keep, probabilities, 0).sum(axes) / count
    fraction = jnp.where(keep, chosen, False).sum(axes).astype(probabilities.dtype) / count
    return probabilities.shape[-1] * (share * fraction).sum()


def check_split(name: str, heads: int, shared: int, routed: int):
    """Raises ValueError unless `shared` heads and `routed` of the other ones can be on."""
    candidates = heads - shared
    if not 0 <= shared <= heads or not 0 <= routed <= candidates or (routed == 0) != (candidates == 0):
        raise ValueError(
            f"fusion {name!r}: shared={shared} and routed={routed} do not split heads={heads}; expected "
            f"1 <= routed <= heads - shared, or routed=0 with all heads shared"
        )


class HeadRouter(nnx.Module):
    """G = concat(w_0 g_shared, w_1 g_routed), the weight of every head for a token x, [..., H].

    p = softmax(x W_g) over the E = heads - shared candidates, T its `routed` = k largest entries:
    g_routed = k p 1_T / sum(p 1_T), g_shared = s softmax(x W_1) (the constant 1 if s = 1),
    w = 2 softmax(x W_0). Without shared heads G = g_routed, without routed heads G = g_shared.

    Args:
        dim: width of a token.
        heads, shared, routed: H, s and k.
    """

    def __init__(self, dim: int, heads: int, shared: int, routed: int, *, kernel_init, rngs: nnx.Rngs):
        def linear(width):
            return nnx.Linear(dim, width, use_bias=False, kernel_init=kernel_init, rngs=rngs)

        self.heads, self.shared, self.routed = heads, shared, routed
        if routed > 0:
            self.wg = linear(heads - shared)
        if routed > 0 and shared > 0:
            self.wg_0 = linear(2)
        if shared > 1:
            self.wg_1 = linear(shared)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """x [..., D] -> gates [..., H] and the candidates' probabilities [..., E]."""
        shared = self._shared(x)
        if self.routed == 0:
            return shared, shared[..., self.shared :]
        p = jax.nn.softmax(self.wg(x))
        kept = jnp.where(top_k_mask(p, self.routed), p, 0)
        routed = self.routed * kept / jnp.maximum(kept.sum(-1, keepdims=True), jnp.finfo(p.dtype).eps)
        if self.shared == 0:
            return routed, p
        balance = 2 * jax.nn.softmax(self.wg_0(x))
        return jnp.concatenate([balance[..., :1] * shared, balance[..., 1:] * routed], axis=-1), p

    def _shared(self, x: Array) -> Array:
        # One shared head: the DiT class has no W_1 for it and fails; the ViT class takes the constant 1.
        if self.shared > 1:
            return self.shared * jax.nn.softmax(self.wg_1(x))
        return jnp.ones((*x.shape[:-1], self.shared), x.dtype)

    def balance_loss(self, p: Array, mask: Array) -> Array:
        """`load_balance` of the probabilities [..., E] over the tokens in mask [...]."""
        return load_balance(p, top_k_mask(p, self.routed), mask)
