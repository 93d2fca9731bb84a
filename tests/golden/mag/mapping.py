"""Multimodal adaptation gate: text is the main modality, then visual and acoustic, all of one width.

From WasifurRahman/BERT_multimodal_transformer at dc7876f; `in/beta_shift` is the option of that name.
"""

import jax
import numpy as np
from flax import nnx

from fusion_jax.fusion.mag import MAG
from tests.helpers import assign, linear


def gate(case):
    x = np.stack([case["in/text_embedding"], case["in/visual"], case["in/acoustic"]], axis=1)
    mask = np.ones(x.shape[:2], bool)
    model = MAG(3, x.shape[2], beta=float(case["in/beta_shift"]), rngs=nnx.Rngs(0))
    values = {"norm.scale": case["param/LayerNorm.weight"], "norm.bias": case["param/LayerNorm.bias"]}
    for i, m in enumerate("va"):
        values |= linear(f"gates.{i}", case, f"param/W_h{m}.weight", f"param/W_h{m}.bias")
        values |= linear(f"shifts.{i}", case, f"param/W_{m}.weight", f"param/W_{m}.bias")
    assign(model, values)
    yield "shifted", jax.vmap(model.shifted)(x, mask)[0], case["out/shifted"]
    fused = model(x, mask)
    yield "embedding_output", fused.out, case["out/embedding_output"]
    yield "token", fused.tokens[:, 0], case["out/embedding_output"]
