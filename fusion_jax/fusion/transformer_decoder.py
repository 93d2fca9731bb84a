"""A query made of the node's mean modality reads the modalities through one Transformer decoder layer.

Reference: Vaswani et al., "Attention Is All You Need", 2017 (arXiv 1706.03762). The numbers are those of
PyTorch 2.13's `nn.TransformerDecoderLayer`, a stand-in for tensor2tensor; golden `transformer-decoder`.
"""

from __future__ import annotations

from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.transformer import DecoderLayer
from fusion_jax.records import Attention, Fused, Info


class TransformerDecoder(Fusion):
    """out = y of a post-norm decoder layer with target t = mean of the present x_m and memory x [M, D].

    s = t, or LN1(t + SelfAttn(t)); c = LN2(s + CrossAttn(s, x)); y = LN3(c + W2 relu(W1 c + b1) + b2).
    A node without modalities has t = 0 and reads only the output bias of the attention. The modalities carry
    no position, so their order has no influence.

    Args:
        heads: H, divides D (the paper: 8, at D = 512).
        hidden: width between W1 and W2, 4 D if None.
        self_attention: whether the layer's first step is kept; on one query it is a linear map.
        rate: dropout on the attention weights, behind relu and behind each step.

    Attention "cross" [N, H, M] is the cross-attention, 0 on missing modalities.

    Raises:
        ValueError: heads do not divide D.
    """

    info = Info(
        "Vaswani et al., Attention Is All You Need",
        2017,
        pinned="stand-in",
        golden="transformer-decoder",
        cost="O(N M D^2)",
    )
    placements = ("before", "after")
    symmetries = ("nodes", "modalities")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        heads: int = 4,
        hidden: int | None = None,
        self_attention: bool = False,
        rate: float = 0.1,
        rngs: nnx.Rngs,
    ):
        del modalities  # any number of keys
        check_heads("transformer_decoder", dim, heads)
        hidden = 4 * dim if hidden is None else hidden
        self.layer = DecoderLayer(dim, heads, hidden, self_attention=self_attention, rate=rate, rngs=rngs)

    def node(self, x, mask, context):
        query = masked_mean(x, mask)[None]  # [1, D]
        out, weights = self.layer(query, x, memory_mask=mask, key=context.key)
        cross = Attention("cross", weights[:, 0], ("head", "modality"), "node", "modality", valid=mask[None])
        return Fused(out[0], attention=(cross,))
