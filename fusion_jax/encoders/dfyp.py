"""Channel attention and a graph's edge operator on one modality: what DFYP does before its branches.

Reference: "DFYP: A Dynamic Fusion Framework with Spectral Channel Attention and Adaptive Operator Learning for Crop
Yield Prediction", 2025 (arXiv 2507.05849); code onef1shy/DFYP at 21588aa, `models/dfyp.py`. Golden `dfyp`.
"""

import jax.numpy as jnp
from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.nn.gradient_operators import Filtered, Selection, check_resolution
from fusion_jax.nn.presence import zero_absent
from fusion_jax.records import EVALUATION, Info
from fusion_jax.structures.base import Structure


class DFYP(Encoder):
    """y = W (w response(x g) + (1 - w) x g) + b: gates g of the channels of this modality, then its edge operator.

    The equations are those of the fusion `dfyp` (M = 1). A node that lacks the modality is not pooled, is nobody's
    neighbour, and gets nothing from its own: a difference has two ends.

    Args:
        resolution, reduction, select, operator, table: as of the fusion.
    Raises:
        ValueError: an option that is not one of those, or one that binds nothing.
    """

    info = Info(
        "DFYP: A Dynamic Fusion Framework with Spectral Channel Attention and Adaptive Operator Learning",
        2025,
        pinned="authors' code",
        golden="dfyp",
        cost="O((E + E2) d + N d D)",
    )

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        resolution: str = "coarse",
        reduction: int | None = None,
        select: str = "table",
        operator: str = "learnable",
        table: tuple[str, ...] = (),
        rngs: nnx.Rngs,
    ):
        check_resolution("encoder 'dfyp'", resolution, reduction)
        selection = Selection(select, operator, table).checked("encoder 'dfyp'")
        self.filtered = Filtered(in_dim, selection, resolution, reduction, rngs=rngs)
        self.linear = nnx.Linear(in_dim, dim, rngs=rngs)
        self.needs = ("graph",)  # of the instance: it reads edges, and yet brings nothing to who lacks the modality
        self.structures = (Structure("two_hop"),)

    def _filter(self, x, graph, present):
        there = jnp.ones(x.shape[0], bool) if present is None else present
        there = there if graph.present is None else there & graph.present
        pairs = graph.structure(self.structures[0])
        return self.filtered(zero_absent(x, there)[:, None], there[:, None], graph, pairs)

    def attention(self, x, graph, present, context):
        """The gates [G, 1, d] and the operators [G, K] of every graph."""
        del context
        return self._filter(x, graph, present)[2]

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        del context
        return self.linear(self._filter(x, graph, present)[1][:, 0])
