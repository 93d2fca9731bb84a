"""Multimodal Tucker fusion: a bilinear form whose core is cut into slices of low rank.

Reference: Ben-younes, Cadene, Cord, Thome, "MUTAN: Multimodal Tucker Fusion for Visual Question Answering", ICCV 2017;
code of the authors, Cadene/block.bootstrap.pytorch at e938e9e2 (`block/models/networks/fusions/fusions.py`, Mutan;
BSD 3-clause). Golden `mutan`, two modalities.
"""

from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.multilinear import Multilinear, check
from fusion_jax.records import Fused, Info


class Mutan(Fusion):
    """out = W_o z + b_o, z = sum_r prod_m (W_mr u_m + w_mr), u_m = V_m x_m + v_m, the products by feature.

    For M = 2 that is the published form. For more (ours) it is the same decomposition of a form of order M: every
    modality is one more factor, and the order of the modalities does not matter. The factor of a missing modality is
    left out; z = 0 where all are missing.

    Args:
        mm_dim: width of u_m and z; D if None (1600 in the paper, for vectors of 2048 and 4800).
        rank: R, number of products summed.
        shared: whether all modalities share V, v, W and w.
        normalize: whether z goes through sign(z) sqrt|z| and is brought to length 1.
        input_rate, pre_lin_rate, output_rate: dropout on u_m, on z and on out.
        out_dim: width of `out`, D if None.
    Raises:
        ValueError: widths or a rank below 1.
    """

    info = Info(
        "Ben-younes et al., MUTAN: Multimodal Tucker Fusion for Visual Question Answering",
        2017,
        pinned="authors' code",
        golden="mutan",
        cost="O(N M R D^2)",
    )

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        mm_dim: int | None = None,
        rank: int = 15,
        shared: bool = False,
        normalize: bool = False,
        input_rate: float = 0.0,
        pre_lin_rate: float = 0.0,
        output_rate: float = 0.0,
        out_dim: int | None = None,
        rngs: nnx.Rngs,
    ):
        width = dim if mm_dim is None else mm_dim
        check("mutan", width, 1, rank)
        self.net = Multilinear(
            modalities,
            dim,
            width,
            dim if out_dim is None else out_dim,
            chunks=1,
            rank=rank,
            shared=shared,
            norm="after_cat" if normalize else None,
            input_rate=input_rate,
            pre_lin_rate=pre_lin_rate,
            output_rate=output_rate,
            rngs=rngs,
        )
        self.symmetries = ("nodes", "modalities") if shared else ("nodes",)

    def node(self, x, mask, context):
        return Fused(self.net(x, mask, key=context.key))
