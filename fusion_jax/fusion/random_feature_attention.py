"""One layer of very many heads whose products of query and key are drawn once and never trained: values alone are.

Reference: Fu, Guo, Bai and Mei, "What Can a Single Attention Layer Learn? A Study Through the Random Features Lens",
NeurIPS 2023 (arXiv 2307.11353). There is no authors' code and the paper's body could not be read: formulas and sizes
are as they are remembered. Golden `random-feature-attention`. The scheme of this name solves for the values.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax import zoo
from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.init import Constant, masked_mean, normal
from fusion_jax.nn.prototypes import unit
from fusion_jax.records import Array, Attention, Fused, Info, Tokens

FORMS = ("rfa", "brfa")
STD = 0.5  # of every entry of W


class RandomFeatureAttention(Fusion):
    """out = sum_h V_h^T phi_h, phi_h = (1/n) sum_m relu(q~^T W_h k~_m) k~_m over the n modalities that are there.

    k_m = x_m / |x_m|, q the mean of the k_m brought to length 1, and k~ = [k; 1]. The weights of the modalities are
    relus over their number and no softmax: they can all be 0. W_h [D + 1, D + 1] has entries of N(0, 1/4), to which
    "brfa" adds the identity on the first D coordinates; no optimiser moves it, so that the outputs are linear in the
    parameters. `prediction` = sum_h V'_h^T phi_h [N, C] with values of its own (`model.head="fusion"`, the published
    form); V leads to width D, for a model whose layers or head follow.

    Ours: that the keys are a node's modalities and the query is their mean, and n the number of those that are there.
    A node without any has 0.

    Attention "heads" [N, H, M] holds relu(.) / n, state "features" [N, H, D + 1] the phi_h.

    Args:
        form: "rfa", or "brfa" for W of another mean than 0.
        heads: H.
    Raises:
        ValueError: an unknown form, or fewer than 1 head.
    """

    info = Info(
        "Fu et al., What Can a Single Attention Layer Learn? A Study Through the Random Features Lens",
        2023,
        golden="random-feature-attention",
        cost="O(N H (D^2 + M D))",
        needs=("outputs",),
    )
    placements = ("before", "after")
    symmetries = ("nodes", "modalities")

    def __init__(self, modalities: int, dim: int, *, outputs: int, form: str = "rfa", heads: int = 256, rngs: nnx.Rngs):
        del modalities
        if form not in FORMS:
            raise ValueError(
                f"fusion 'random_feature_attention': form={form!r}{zoo.nearest(form, FORMS)}; expected one of {FORMS}"
            )
        if heads < 1:
            raise ValueError(f"fusion 'random_feature_attention': heads={heads}; expected at least 1")
        products = STD * jax.random.normal(rngs.params(), (heads, dim + 1, dim + 1), jnp.float32)
        if form == "brfa":
            products = products + jnp.diag(jnp.ones(dim + 1, jnp.float32).at[-1].set(0))
        self.W = Constant(products)
        # a sum over all heads of features of size 1
        self.V = normal(rngs, (heads, dim + 1, dim), heads**-0.5)
        self.V_prediction = normal(rngs, (heads, dim + 1, outputs), heads**-0.5)

    def scores(self, query: Array, keys: Array) -> Array:
        """q~^T W_h k~_m of one query [D] and its keys [M, D], [H, M]."""
        return jnp.einsum("i,hij,mj->hm", _with_one(query), self.W[...].astype(keys.dtype), _with_one(keys))

    def features(self, query: Array, keys: Array, mask: Array) -> tuple[Array, Array]:
        """phi [H, D + 1] and the weights of the keys [H, M], of one query and the keys that mask [M] says are there."""
        count = jnp.maximum(mask.sum(), 1).astype(keys.dtype)
        weights = jnp.where(mask, jax.nn.relu(self.scores(query, keys)), 0) / count
        return jnp.einsum("hm,mj->hj", weights, _with_one(jnp.where(mask[:, None], keys, 0))), weights

    def node(self, x, mask, context):
        del context
        wide = x.astype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)  # W has no halves
        keys = unit(wide)
        phi, weights = self.features(unit(masked_mean(keys, mask)), keys, mask)
        out, prediction = (combined(phi, v[...].astype(wide.dtype)) for v in (self.V, self.V_prediction))
        attention = Attention(
            "heads", weights, ("head", "modality"), "head", "modality", valid=mask[None], normalised=False
        )
        state = Tokens("features", phi, jnp.broadcast_to(mask.any(), len(phi)), "head")
        return Fused(out.astype(x.dtype), attention=(attention,), states=(state,), prediction=prediction)


def combined(phi: Array, values: Array) -> Array:
    """sum_h values_h^T phi_h, phi [..., H, D + 1] and values [H, D + 1, C] -> [..., C]."""
    return jnp.einsum("...hj,hjc->...c", phi, values)


def _with_one(x: Array) -> Array:
    """[..., D] -> [..., D + 1], 1 in the last place."""
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1)
