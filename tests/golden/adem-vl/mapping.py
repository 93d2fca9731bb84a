"""ADEM-VL: the projector, the scores, what is dropped and the adapter's output, on the reference's own tokens."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.adem_vl import ADEMVL, Adapter, Projector
from tests.helpers import assign
from tests.torch_names import torch_linear


def pooled(patches, scales):
    """Patches [B, g^2, C] on a grid, averaged to each side of `scales` , one behind another."""
    batch, count, width = patches.shape
    side = round(count**0.5)
    grid = patches.reshape(batch, side, side, width)
    out = []
    for s in scales:
        edges = [(i * side // s, -(-(i + 1) * side // s)) for i in range(s)]  # adaptive: cells may overlap
        cells = [grid[:, a:b, c:d].mean((1, 2)) for a, b in edges for c, d in edges]
        out.append(np.stack(cells, axis=1))
    return np.concatenate(out, axis=1)


def adapter(case):
    tokens = pooled(case["vision_feats"], case["cfg_scales"].tolist())
    yield "multiscale features", tokens, case["multiscale_feats"]
    batch, count, width = tokens.shape
    dim = case["h_norm"].shape[-1]
    ratio, beta = float(case["cfg_drop_ratio"]), float(case["cfg_beta"])
    alpha = float(case["cfg_alpha"])
    fusion = ADEMVL(1, dim, heads=1, drop_ratio=ratio, beta=beta, alpha=alpha, rngs=nnx.Rngs(0))
    fusion.adapter_proj = Projector(width, len(case["param/adapter_proj.fc1.bias"]), dim, rngs=nnx.Rngs(0))
    fusion.adapter = Adapter(count, dim, drop_ratio=ratio, rngs=nnx.Rngs(0))
    values = torch_linear("adapter_proj.fc1", case, "param/adapter_proj.fc1")
    values |= torch_linear("adapter_proj.fc2", case, "param/adapter_proj.fc2")
    values |= {f"adapter.adapter_emb{i}": case[f"adapter_emb{i}"] for i in (1, 2)}
    fusion = assign(fusion, values, partial=True)
    shown = jnp.asarray(case["indicators"] > 0)[:, None] & jnp.ones((batch, count), bool)
    embedded = fusion.embed(jnp.asarray(tokens), shown)
    yield "embedded", embedded, case["image_embeds"]
    # the reference lets the tables speak where there is no image: nothing is masked there
    everything, h = jnp.ones((batch, count), bool), jnp.asarray(case["h_norm"])
    scores = fusion.adapter.scores(h, embedded, everything)
    yield "scores", scores, case["score"]
    yield "kept", fusion.adapter.kept(scores, everything), case["kept"]
    out, _ = fusion.adapter(h, embedded, everything)
    yield "out", out, case["adapter_out"]
    yield "scaled", fusion.alpha * out, case["scaled_out"]
