"""Multimodal Tucker fusion: two modalities of one width.

From Cadene/block.bootstrap.pytorch at e938e9e2, evaluation mode. `out/z` is what its last layer reads, `out/grad_x*`
the gradients of the output weighted by `in/weight`.
"""

import functools

from flax import nnx

from fusion_jax.fusion.mutan import Mutan
from tests.multilinear_names import compared


def fusion(case):
    make = functools.partial(
        Mutan,
        2,
        case["in/x0"].shape[1],
        mm_dim=case["param/linear0.bias"].size,
        rank=int(case["option/rank"]),
        shared=bool(case["option/shared"]),
        normalize=bool(case["option/normalize"]),
        out_dim=case["param/linear_out.bias"].size,
    )
    yield from compared(lambda: make(rngs=nnx.Rngs(0)), case, ["merge_linear{m}"])
