"""Tensor fusion network: the product and the network behind it, three modalities of one width.

From Justin1904/TensorFusionNetworks at ef0e78b, its three subnetworks replaced by the identity. `out/output`
is the sigmoid of the last layer brought to the range of the labels, which is a head and not part of the
fusion.
"""

import jax
import numpy as np
from flax import nnx

from fusion_jax.fusion.tfn import TFN
from tests.helpers import assign, linear


def fusion(case):
    x = np.stack([case[f"in/{m}_h"] for m in ("audio", "video", "text")], axis=1)
    mask = np.ones(x.shape[:2], bool)
    names = [f"post_fusion_layer_{i}" for i in (1, 2, 3)]
    hidden, size = case[f"param/{names[0]}.weight"].shape
    out = case[f"param/{names[2]}.bias"].size
    model = TFN(3, x.shape[2], width=x.shape[2], limit=size, hidden=hidden, out_dim=out, rngs=nnx.Rngs(0))
    values = {}
    for name in names:
        values |= linear(name, case, f"param/{name}.weight", f"param/{name}.bias")
    assign(model, values)
    yield "fusion_tensor", jax.vmap(model.tensor)(x, mask), case["out/fusion_tensor"]
    fused = model(x, mask).out
    yield "post_fusion_layer_3", fused, case["out/post_fusion_layer_3"]
    head = jax.nn.sigmoid(fused) * case["param/output_range"][0] + case["param/output_shift"][0]
    yield "output", head, case["out/output"]
