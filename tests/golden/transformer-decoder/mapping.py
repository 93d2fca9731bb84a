"""Transformer decoder: the layer with its intermediates, its cross-attention alone, the article's formula."""

import numpy as np
from flax import nnx

from fusion_jax.fusion.transformer_decoder import TransformerDecoder
from fusion_jax.nn.attention import MultiHeadAttention, attend
from tests.helpers import assign, prefixed
from tests.torch_names import torch_attention, torch_decoder_layer


def decoder_layer(case):
    memory, hidden = case["in/memory"], case["param/linear1.bias"].size
    heads = case["out/cross_weights"].shape[1]
    module = TransformerDecoder(
        memory.shape[-2], memory.shape[-1], heads=heads, hidden=hidden, self_attention=True, rngs=nnx.Rngs(0)
    )
    assign(module, prefixed("layer", torch_decoder_layer("", case, "param/")))
    # the stand-in's masks are true where a key is to be ignored
    causal = ~case["in/tgt_mask"] if "in/tgt_mask" in case else None
    if causal is not None:
        causal = np.broadcast_to(causal, (*memory.shape[:-2], *causal.shape))
    steps = module.layer.steps(case["in/tgt"], memory, causal, ~case["in/memory_key_padding_mask"])
    yield "after_self", steps.after_self, case["out/after_self"]
    yield "cross_weights", steps.cross_weights, case["out/cross_weights"]
    yield "cross_out", steps.cross_out, case["out/cross_out"]
    yield "after_cross", steps.after_cross, case["out/after_cross"]
    yield "y", steps.out, case["out/y"]


def multihead_cross_attention(case):
    query, memory = case["in/query"], case["in/memory"]
    module = TransformerDecoder(
        memory.shape[-2], memory.shape[-1], heads=case["out/weights"].shape[1], rngs=nnx.Rngs(0)
    )
    attention = module.layer.multihead_attn
    assign(module, torch_attention("layer.multihead_attn", case, "param/"), partial=True)
    y, weights = attention(query, memory, mask=~case["in/key_padding_mask"])
    yield "weights", weights, case["out/weights"]
    yield "y", y, case["out/y"]


def article_formula_numpy(case):
    source, target = case["in/S1"], case["in/S2"]
    w_q, w_k, w_v = (case[f"param/{name}"].T for name in ("W_Q", "W_K", "W_V"))
    module = MultiHeadAttention(
        w_q.shape[0],
        1,
        key_dim=w_k.shape[0],
        qk_dim=w_q.shape[1],
        v_dim=w_v.shape[1],
        out_dim=w_v.shape[1],
        bias=False,
        out_bias=False,
        rngs=nnx.Rngs(0),
    )
    assign(
        module,
        {
            "query.kernel": w_q,
            "key.kernel": w_k,
            "value.kernel": w_v,
            "out.kernel": np.eye(w_v.shape[1]),  # the article has no output projection
        },
    )
    y, weights = module(target, source)
    yield "y_scaled", y, case["out/y_scaled"]
    yield "weights_scaled", weights[0], case["out/weights_scaled"]
    q, k, v = (module.split(p(s)) for p, s in ((module.query, target), (module.key, source), (module.value, source)))
    y, weights = attend(q, k, v, scale=1.0)
    yield "y_unscaled", y[:, 0], case["out/y_unscaled"]
    yield "weights_unscaled", weights[0], case["out/weights_unscaled"]
