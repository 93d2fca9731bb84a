"""Multimodal transfer module: all modalities are squeezed into one vector, which gates the features of each.

Reference: Joze, Shaban, Iuzzolino, Koishida, "MMTM: Multimodal Transfer Module for CNN Fusion", CVPR 2020;
code of the authors, haamoon/mmtm at 1c81cfe (MIT); golden `mmtm`, two modalities.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.init import masked_mean, stack
from fusion_jax.records import Array, Attention, Fused, Info


class MMTM(Fusion):
    """y_m = sigmoid(E_m z + e_m) * x_m with z = relu(W [x_1; ...; x_M] + b) [int(2 M D / ratio)].

    `tokens` are the y_m; `out` is their mean over the present modalities, as the code averages its two
    streams. A missing modality enters z as zeros. The mean over positions that comes first in the paper is
    that of a single one here, as nodes carry vectors.

    Attention "gates" [N, D, M] holds the gates, in (0, gain), 0 for missing modalities.

    Args:
        ratio: of the M D features to half the width of z, > 0.
        gain: factor of the gates. The paper's excitation has 2, so that a gate of logit 0 leaves its feature
            as it
            is; the code the numbers come from has 1.
    """

    info = Info(
        "Joze et al., MMTM: Multimodal Transfer Module for CNN Fusion",
        2020,
        pinned="authors' code",
        golden="mmtm",
        cost="O(N M^2 D^2)",
    )
    placements = ("before", "after", "interleaved", "decision")

    def __init__(self, modalities: int, dim: int, *, ratio: float = 4, gain: float = 1.0, rngs: nnx.Rngs):
        width = max(1, int(2 * modalities * dim / ratio))
        self.squeeze = nnx.Linear(modalities * dim, width, rngs=rngs)
        self.excite = stack(lambda r: nnx.Linear(width, dim, rngs=r), modalities, rngs)
        self.gain = gain

    def gates(self, x: Array, mask: Array) -> Array:
        """The gates [M, D] of one node."""
        z = jax.nn.relu(self.squeeze(jnp.where(mask[:, None], x, 0).reshape(-1)))
        gates = self.gain * jax.nn.sigmoid(jax.vmap(lambda f: f(z))(self.excite))
        return jnp.where(mask[:, None], gates, 0)

    def node(self, x, mask, context):
        del context
        gates = self.gates(x, mask)
        tokens = gates * x
        shown = Attention(
            "gates", gates.T, ("feature", "modality"), "node", "modality", valid=mask[None], normalised=False
        )
        return Fused(masked_mean(tokens, mask), tokens, (shown,))
