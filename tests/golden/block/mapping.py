"""Block superdiagonal fusion: two modalities of one width, whole and in blocks of two sizes.

From Cadene/block.bootstrap.pytorch at e938e9e2, evaluation mode. `out/z` is what its last layer reads, `out/grad_x*`
the gradients of the output weighted by `in/weight`.
"""

import functools

from flax import nnx

from fusion_jax.fusion.block import Block
from tests.multilinear_names import compared


def fusion(case):
    make = functools.partial(
        Block,
        2,
        case["in/x0"].shape[1],
        mm_dim=case["param/linear0.bias"].size,
        chunks=int(case["option/chunks"]),
        rank=int(case["option/rank"]),
        shared=bool(case["option/shared"]),
        pos_norm=str(case["option/pos_norm"]),
        out_dim=case["param/linear_out.bias"].size,
    )
    yield from compared(
        lambda: make(rngs=nnx.Rngs(0)), case, [f"merge_linears{{m}}.{i}" for i in range(int(case["option/chunks"]))]
    )
