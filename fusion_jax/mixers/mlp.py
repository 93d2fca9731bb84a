"""No token mixing: a gated MLP of as many parameters in the place of attention.

Reference: Xue, Moosavi and Aletras, "Deconstructing Attention", 2025 (arXiv 2510.11602), section 3.1; golden
`deconstructing-attention/variants`, computed independently from the equations.
"""

from fusion_jax.mixers.base import PAPER, Mixer
from fusion_jax.records import Info


class MLP(Mixer):
    """O = W_down (silu(W_gate H) * W_up H), token by token, its width that of `nn.attention.equal_width`.

    A `MultiHeadAttention` is built as this, so that a mechanism that attends otherwise is refused, and so is one whose
    queries are not its keys (cross attention): nothing of what it asks would be left. Biases: as the output of the
    attention has, none within. Weights are shown as 1 of every token on itself.
    """

    info = Info(PAPER, 2025, golden="deconstructing-attention", cost="O(T D^2)")
    replaces = True
