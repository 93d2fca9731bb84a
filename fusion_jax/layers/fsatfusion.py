"""One block of FSATFusion as a graph layer: attention along edges, then gates by frequency and surroundings.

Reference: "FSATFusion: Frequency-Spatial Attention Transformer for Infrared and Visible Image Fusion", 2025
(arXiv 2506.10366); code Lmmh058/FSATFusion at 979b2c9, `Networks/network.py`. Golden `fsatfusion`.
"""

import jax.numpy as jnp
from flax import nnx

from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.fsat import FSATStack, Settings, shown_of, site_of
from fusion_jax.nn.presence import zero_absent
from fusion_jax.records import EVALUATION, Info
from fusion_jax.structures.base import Structure


class FSATFusion(GraphLayer):
    """h = ITM(W x), y = relu(BN(h + FSAM(h))), a step of the fusion `fsatfusion`, which has the equations.

    W is there where the width changes. Two layers have an FSAM and a batch norm each, where the steps of the fusion
    share theirs. Means over a graph and Fourier coefficients reach further than the edges do.

    Args:
        heads: H, divides `out` (the paper: 8).
        reduction, frequencies, coefficients, window, second_ring: as of the fusion.
    Raises:
        ValueError: an option that is not one of those.
    """

    info = Info(
        "FSATFusion: Frequency-Spatial Attention Transformer for Infrared and Visible Image Fusion",
        2025,
        pinned="authors' code",
        golden="fsatfusion",
        cost="O(N D^2 + E D + E2)",
        needs=("graph",),
    )
    whole_block = True

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        heads: int = 4,
        reduction: int = 16,
        frequencies: int | tuple[int, ...] = 16,
        coefficients: str = "sum",
        window: str = "neighbours",
        second_ring: str = "pairs",
        rngs: nnx.Rngs,
    ):
        out = dim if out is None else out
        given = Settings(heads, reduction, frequencies, coefficients, window, second_ring)
        self.settings = given.checked("graph layer 'fsatfusion'", out)
        self.structures = tuple(Structure(*wanted) for wanted in self.settings.wanted)
        self.project = nnx.Linear(dim, out, rngs=rngs) if out != dim else None
        self.stack = FSATStack.of(out, 1, self.settings, rngs=rngs)

    def _start(self, x, graph, present):
        """The tokens, 0 where absent, and the site."""
        there = jnp.ones(x.shape[0], bool) if present is None else present
        there = there if graph.present is None else there & graph.present
        x = zero_absent(x, there)
        h = x if self.project is None else self.project(x)
        return h, site_of(graph, there, self.settings, self.structures)

    def attention(self, x, graph, present, context):
        """The spectral gates [G, 1, D] and the weights [E', 1, H] on the edges of `graph.looped`, in evaluation."""
        del context
        h, site = self._start(x, graph, present)
        h, weights = self.stack.blocks[0](h, site)
        return shown_of(site, [self.stack.FAM_Attention(h, site)[1]], [weights])

    def __call__(self, x, graph, present=None, context=EVALUATION):
        h, site = self._start(x, graph, present)
        return self.stack(h, site, training=context.key is not None)[0]
