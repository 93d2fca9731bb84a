"""The form of attention broken, the softmax kept: a key is weighed by its own query, whoever asks.

Reference: Xue, Moosavi and Aletras, "Deconstructing Attention", 2025 (arXiv 2510.11602), section 3.3; golden
`deconstructing-attention/variants`, computed independently from the equations.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fusion_jax.mixers.base import PAPER, Mixer
from fusion_jax.records import Info


class Nonapproximate(Mixer):
    """a_l = softmax over keys of l_l, l_l = sum_c silu(q_l)_c k_lc / sqrt d: all rows are alike, a gated pooling.

    With a bias of the logits, or a mask of its own, a row differs by these. Logits grow large where all layers are
    simple (the paper saw above 10^3; its remedy is to normalise q and k): they are taken in float32 at least, and the
    largest is subtracted before exp. Attention whose queries are not its keys is refused; along edges, where both are
    nodes, the query of a key is that of the same node, of another modality where the mechanism asks across modalities.
    """

    info = Info(PAPER, 2025, golden="deconstructing-attention", cost="O(L d + T L)")
    own_query = True

    def weights(self, keys, q, k, scale, bias):
        own = keys.own(q, k)
        if own is None:
            return None
        wide = jnp.float64 if q.dtype == jnp.float64 else jnp.float32  # no large logits in halves
        logits = keys.of_key((jax.nn.silu(own.astype(wide)) * k.astype(wide)).sum(-1) * scale)
        return keys.softmax(logits if bias is None else logits + bias.astype(wide)).astype(q.dtype)
