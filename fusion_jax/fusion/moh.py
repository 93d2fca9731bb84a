"""Self-attention over the modalities whose heads are experts: each token keeps its best heads only.

Reference: Jin, Zhu, Yuan and Yan, "MoH: Multi-Head Attention as Mixture-of-Head Attention", 2024; code
SkyworkAI/MoH, commit 2cefd57, `MoH-DiT/models.py` (class MoHAttention). Golden `moh/dit`. The gates are in
`nn/head_router.py`; `moh_vit` and `moh_llama` are the paper's other two attentions.
"""

from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.attention import attend
from fusion_jax.nn.head_router import HeadRouter, check_split
from fusion_jax.nn.mixture_of_heads import mix, split_qkv
from fusion_jax.records import Info


class MoH(Fusion):
    """y = concat_h(G_h o_h) W_o + b_o with o_h = softmax(q_h k_h^T / sqrt(D / H)) v_h.

    The keys are the node's present modalities. G [N, M, H] are the gates of `HeadRouter`, made from the token
    alone: `shared` heads are always on, of the others the `routed` most probable ones.
    out = mean of y over the present modalities; tokens = y [N, M, D].

    Args:
        heads: H; divides D.
        shared: s, heads that are always on. One shared head has the constant gate 1 before the group balance.
        routed: k, how many of the other H - s heads a token keeps; 0 only if all heads are shared.
        rate: dropout on the attention weights.
        balance: weight of the load-balance loss (the paper's 0.01), >= 0.

    Attentions are "attention" [N, H, M, M] (query, key), "gates" [N, M, H] and "router" [N, M, H - s] (softmax
    over the candidates). In training `losses["load_balance"]` is balance (H - s) sum_e P_e f_e, where P (mean
    probability) and f (fraction of tokens that keep head e) are taken over the present tokens of all nodes.

    Raises:
        ValueError: heads do not divide D, or shared and routed do not split the heads.
    """

    info = Info(
        "Jin et al., MoH: Multi-Head Attention as Mixture-of-Head Attention (DiT)",
        2024,
        pinned="authors' code",
        golden="moh",
        cost="O(N M D (M + D))",
    )
    placements = ("before", "after", "interleaved")
    symmetries = ("nodes", "modalities")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        heads: int = 8,
        shared: int = 2,
        routed: int = 4,
        rate: float = 0.0,
        balance: float = 0.01,
        rngs: nnx.Rngs,
    ):
        del modalities
        check_heads("moh", dim, heads)
        check_split("moh", heads, shared, routed)
        init = nnx.initializers.truncated_normal(0.02)
        self.qkv = nnx.Linear(dim, 3 * dim, rngs=rngs)
        self.proj = nnx.Linear(dim, dim, rngs=rngs)
        self.router = HeadRouter(dim, heads, shared, routed, kernel_init=init, rngs=rngs)
        self.heads, self.rate, self.balance = heads, rate, balance

    def nodes(self, x, mask, graph, context):
        del graph
        q, k, v = split_qkv(self.qkv, x, self.heads)
        heads, attention = attend(q, k, v, mask, rate=self.rate, key=context.key)  # [N, M, H, d]
        return mix(x, mask, heads, attention, self.router, self.proj, self.balance, context.key is not None)
