"""Multimodal transfer module: two modalities of one width, without positions.

From haamoon/mmtm at 1c81cfe; `in/ratio` is the option of that name.
"""

import numpy as np
from flax import nnx

from fusion_jax.fusion.mmtm import MMTM
from tests.helpers import assign, linear


def mmtm(case):
    names = ("visual", "skeleton")
    x = np.stack([case[f"in/{m}"] for m in names], axis=1)
    model = MMTM(2, x.shape[2], ratio=case["in/ratio"].item(), rngs=nnx.Rngs(0))
    assign(
        model,
        {
            **linear("squeeze", case, "param/fc_squeeze.weight", "param/fc_squeeze.bias"),
            "excite.kernel": np.stack([case[f"param/fc_{m}.weight"].T for m in names]),
            "excite.bias": np.stack([case[f"param/fc_{m}.bias"] for m in names]),
        },
    )
    fused = model(x, np.ones(x.shape[:2], bool))
    for m, name in enumerate(names):
        yield name, fused.tokens[:, m], case[f"out/{name}"]
    yield "mean of streams", fused.out, (case["out/visual"] + case["out/skeleton"]) / 2
