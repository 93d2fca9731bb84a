"""Softmax of scaled products: attention as it is, every mechanism as published.

Reference: Xue, Moosavi and Aletras, "Deconstructing Attention", 2025 (arXiv 2510.11602), section 3; golden
`deconstructing-attention/variants`, computed independently from the equations.
"""

from fusion_jax.mixers.base import PAPER, Mixer
from fusion_jax.records import Info


class Standard(Mixer):
    """A = softmax over keys of Q K^T / sqrt d, Q = H W_Q, K = H W_K; out = A V. Nothing is changed."""

    info = Info(PAPER, 2025, golden="deconstructing-attention", cost="O(T L d)")
