"""Queries and keys of the embeddings that enter the first layer, values of the layer's own input.

Reference: Xue, Moosavi and Aletras, "Deconstructing Attention", 2025 (arXiv 2510.11602), section 3.5; golden
`deconstructing-attention/variants` ("static"), computed independently from the equations.
"""

from fusion_jax.mixers.base import PAPER, Mixer
from fusion_jax.records import Info


class StaticEmbQK(Mixer):
    """Q, K = e W_Q, e W_K in every layer, e what the first attention of the mechanism projects its own from; V from H.

    The first attention is therefore as it was (the paper's is too where both see embeddings normalised alike), and a
    mechanism of one attention, or a choice of the first alone, is refused: nothing would change. An attention that is
    no `MultiHeadAttention`, or whose queries and keys have other shapes than the first one's, is refused too.
    """

    info = Info(PAPER, 2025, golden="deconstructing-attention", cost="O(T L d)")
    static = True
