"""View correlation discovery: a small network reads the outer product of all modalities' predictions.

Reference: Wang et al., "MOGONET integrates multi-omics data using graph convolutional networks allowing patient
classification and biomarker identification", Nature Communications 2021; code txWang/MOGONET @ 32d9066b,
`models.py`, class VCDN. Golden `mogonet-rosmap` (`tests/test_mogonet.py`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn import mlp
from fusion_jax.nn.init import stack
from fusion_jax.records import Array, Fused, Info, Tokens


class VCDN(Fusion):
    """T[a, b, ..., c] = s_1[a] s_2[b] ... s_M[c], s_m = sigmoid(z_m); out = W2 leaky(W1 vec(T) + b1) + b2.

    z [N, M, C] are the modalities' logits; vec(T) [C^M] has the last modality running fastest. A missing
    modality is undecided, s_m = 1/2. The state "product" [N, 1, C^M] is vec(T).

    Args:
        hidden: width between the layers; as wide as vec(T) if None, but at most 256.
        slope: of the leaky relu below 0.
        joint: whether the gradient of the fused prediction reaches the modalities.
        width: of s_m: linear maps without bias bring the z_m there where it is not C. If None, C where vec(T) keeps
            within `limit`, else the largest that does.
        limit: largest number of entries of vec(T).
    Raises:
        ValueError: vec(T) would have more than `limit` entries, or the width is not in [1, C].
    """

    info = Info(
        "Wang et al., MOGONET integrates multi-omics data using graph convolutional networks",
        2021,
        pinned="authors' code",
        golden="mogonet-rosmap",
        cost="O(N C^M hidden)",
    )
    placements = ("decision",)
    loss = "vcdn"

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        hidden: int | None = None,
        slope: float = 0.25,
        joint: bool = False,
        width: int | None = None,
        limit: int = 4096,
        rngs: nnx.Rngs,
    ):
        if width is None:
            width = max((w for w in range(1, dim + 1) if w**modalities <= limit), default=1)
        size = width**modalities
        if not 1 <= width <= dim:
            raise ValueError(f"fusion 'vcdn': width={width} is not in [1, {dim}]")
        if size > limit:
            raise ValueError(
                f"fusion 'vcdn': the outer product of M={modalities} predictions of width {width} has {size} "
                f"entries, over limit={limit}; choose a smaller width"
            )

        def narrow(r):
            return nnx.Linear(dim, width, use_bias=False, rngs=r)

        self.narrow = None if width == dim else stack(narrow, modalities, rngs)
        self.model = mlp.MLP(
            size,
            min(size, 256) if hidden is None else hidden,
            dim,
            kernel_init=nnx.initializers.glorot_normal(),
            activation=lambda a: jax.nn.leaky_relu(a, slope),
            rngs=rngs,
        )
        self.joint = joint

    def node(self, x, mask, context):
        del context
        # The paper minimises the sum of all losses; the code's optimiser of the fused loss holds only the network
        # below, and the modalities' own optimisers clear the gradient it left with them before they step.
        z = x if self.joint else jax.lax.stop_gradient(x)
        z = z if self.narrow is None else jax.vmap(lambda f, a: f(a))(self.narrow, z)
        product = outer(jax.nn.sigmoid(jnp.where(mask[:, None], z, 0)))
        return Fused(self.model(product), states=(Tokens("product", product[None], jnp.ones(1, bool), "node"),))


def outer(s: Array) -> Array:
    """vec of the outer product of the rows of s [M, C], the last running fastest, [C^M]."""
    product, *rest = s
    for factor in rest:
        product = (product[:, None] * factor).reshape(-1)
    return product
