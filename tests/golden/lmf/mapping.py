"""Low-rank fusion: three modalities of one width.

From Justin1904/Low-rank-Multimodal-Fusion at ea47551, its three subnetworks replaced by the identity.
"""

import numpy as np
from flax import nnx

from fusion_jax.fusion.lmf import LMF
from tests.helpers import assign


def fusion(case):
    names = ("audio", "video", "text")
    x = np.stack([case[f"in/{m}_h"] for m in names], axis=1)
    factors = np.stack([case[f"param/{m}_factor"] for m in names])
    model = LMF(3, x.shape[2], rank=factors.shape[1], out_dim=factors.shape[3], rngs=nnx.Rngs(0))
    assign(
        model,
        {
            "factors": factors,
            "fusion_weights": case["param/fusion_weights"][0],
            "fusion_bias": case["param/fusion_bias"][0],
        },
    )
    yield "output", model(x, np.ones(x.shape[:2], bool)).out, case["out/output"]
