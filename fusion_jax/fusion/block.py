"""Block superdiagonal fusion: a bilinear form whose core is a diagonal of small blocks, each of low rank.

Reference: Ben-younes, Cadene, Thome, Cord, "BLOCK: Bilinear Superdiagonal Fusion for Visual Question Answering and
Visual Relationship Detection", AAAI 2019; code of the authors, Cadene/block.bootstrap.pytorch at e938e9e2
(`block/models/networks/fusions/fusions.py`, Block; BSD 3-clause). Golden `block`, two modalities.
"""

from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.multilinear import Multilinear, check
from fusion_jax.records import Fused, Info

CHUNKS = 20  # in the paper, of width 80


class Block(Fusion):
    """out = W_o [z_1; ...; z_C] + b_o, z_c = n(sum_r prod_m (W_mcr u_mc + w_mcr)), u_m = V_m x_m + v_m cut into C.

    n(z) is sign(z) sqrt|z| brought to length 1. For M = 2 that is the published form. For more (ours) it is the same
    decomposition of a form of order M: every modality is one more factor, and the order of the modalities does not
    matter. The factor of a missing modality is left out; z = 0 where all are missing.

    Args:
        mm_dim: width of u_m and of all blocks; D if None (1600 in the paper, for vectors of 2048 and 4800).
        chunks: C; if None as many, up to the paper's 20, as leave blocks of width 8 (of 80 in the paper): 4 at D = 32.
            Where C does not divide mm_dim, the last blocks are smaller.
        rank: R, number of products summed in a block.
        shared: whether all modalities share V, v, W and w.
        pos_norm: "before_cat", n of every block, or "after_cat", n of all blocks together.
        input_rate, pre_lin_rate, output_rate: dropout on u_m, on z and on out.
        out_dim: width of `out`, D if None.
    Raises:
        ValueError: more blocks than mm_dim, a rank below 1, or another pos_norm.
    """

    info = Info(
        "Ben-younes et al., BLOCK: Bilinear Superdiagonal Fusion for VQA and Visual Relationship Detection",
        2019,
        pinned="authors' code",
        golden="block",
        cost="O(N M D^2 (1 + R / C))",
    )

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        mm_dim: int | None = None,
        chunks: int | None = None,
        rank: int = 15,
        shared: bool = False,
        pos_norm: str = "before_cat",
        input_rate: float = 0.0,
        pre_lin_rate: float = 0.0,
        output_rate: float = 0.0,
        out_dim: int | None = None,
        rngs: nnx.Rngs,
    ):
        width = dim if mm_dim is None else mm_dim
        chunks = max(1, min(CHUNKS, width // 8)) if chunks is None else chunks
        check("block", width, chunks, rank)
        if pos_norm not in ("before_cat", "after_cat"):
            raise ValueError(f"fusion 'block': pos_norm={pos_norm!r}; expected 'before_cat' or 'after_cat'")
        self.net = Multilinear(
            modalities,
            dim,
            width,
            dim if out_dim is None else out_dim,
            chunks=chunks,
            rank=rank,
            shared=shared,
            norm=pos_norm,
            input_rate=input_rate,
            pre_lin_rate=pre_lin_rate,
            output_rate=output_rate,
            rngs=rngs,
        )
        self.symmetries = ("nodes", "modalities") if shared else ("nodes",)

    def node(self, x, mask, context):
        return Fused(self.net(x, mask, key=context.key))
