"""Crossmodal transformers: text (l), audio (a), vision (v), sequences of one length and one input width.

From yaohungt/Multimodal-Transformer at a670936. The width of the transformers, a constant there, was made an
option, and two casts to float32 (position table, softmax) were made casts to float64. The input of the
reference is our cut vector: [N, T, D / T]. Its outputs have the time axis first. `in/num_heads`, `in/layers`
and `in/attn_mask` (causal) are its options; its memory has 3 layers, or `layers` where that is more.
"""

import jax
import numpy as np
from flax import nnx

from fusion_jax.fusion.mult import MulT
from tests.helpers import assign, linear, prefixed

NAMES = "lav"
PAIRS = [(t, s) for t in NAMES for s in NAMES if s != t]


def _layer(case, prefix):
    """One transformer layer under our names."""
    values = {}
    weights = np.split(case[f"{prefix}.self_attn.in_proj_weight"], 3)
    biases = np.split(case[f"{prefix}.self_attn.in_proj_bias"], 3)
    for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
        values |= {f"self_attn.{name}.kernel": weight.T, f"self_attn.{name}.bias": bias}
    for ours, theirs in (("self_attn.out", "self_attn.out_proj"), ("linear1", "fc1"), ("linear2", "fc2")):
        values |= {f"{ours}.kernel": case[f"{prefix}.{theirs}.weight"].T}
        values |= {f"{ours}.bias": case[f"{prefix}.{theirs}.bias"]}
    for i in (0, 1):
        norm = f"{prefix}.layer_norms.{i}"
        values |= {f"norm{i + 1}.scale": case[f"{norm}.weight"], f"norm{i + 1}.bias": case[f"{norm}.bias"]}
    return values


def _encoder(case, prefix):
    """One transformer: layers stacked, and the norm at its end."""
    count = sum(k.startswith(f"{prefix}.layers.") and k.endswith(".fc1.bias") for k in case)
    values = prefixed("layers", _stacked([_layer(case, f"{prefix}.layers.{i}") for i in range(count)]))
    norm = {"norm.scale": case[f"{prefix}.layer_norm.weight"], "norm.bias": case[f"{prefix}.layer_norm.bias"]}
    return values | norm


def _stacked(dicts):
    return {k: np.stack([d[k] for d in dicts]) for k in dicts[0]}


def model(case):
    parts = np.stack([case[f"in/x_{m}"] for m in NAMES], axis=1)  # [N, 3, T, D / T]
    x = parts.reshape(*parts.shape[:2], -1)
    mask = np.ones(x.shape[:2], bool)
    layers = int(case["in/layers"])
    ours = MulT(
        3,
        x.shape[2],
        tokens=parts.shape[2],
        width=case["param/trans_l_with_a.layer_norm.bias"].size,
        heads=int(case["in/num_heads"]),
        layers=layers,
        memory_layers=max(layers, 3),
        causal=bool(case["in/attn_mask"]),
        out_dim=case["param/out_layer.bias"].size,
        rngs=nnx.Rngs(0),
    )
    cross = [_encoder(case, f"param/trans_{t}_with_{s}") for t, s in PAIRS]
    values = prefixed("cross", _stacked(cross))
    values |= prefixed("memory", _stacked([_encoder(case, f"param/trans_{m}_mem") for m in NAMES]))
    if "param/proj_l.weight" in case:
        values["project.kernel"] = np.stack([case[f"param/proj_{m}.weight"][..., 0].T for m in NAMES])
    for name in ("proj1", "proj2", "out_layer"):
        values |= linear(name, case, f"param/{name}.weight", f"param/{name}.bias")
    assign(ours, values)
    h = jax.vmap(ours.crossmodal)(x, mask)  # [N, 3, 2, T, d]
    memory = jax.vmap(ours.remember)(h, mask)  # [N, 3, T, 2 d]
    for i, (t, s) in enumerate(PAIRS):
        yield f"{t} with {s}", h[:, i // 2, i % 2].swapaxes(0, 1), case[f"out/trans_{t}_with_{s}"]
    for i, m in enumerate(NAMES):
        yield f"{m} memory", memory[:, i].swapaxes(0, 1), case[f"out/trans_{m}_mem"]
    yield "last_hs", jax.vmap(ours.summary)(x, mask), case["out/last_hs"]
    yield "output", ours(x, mask).out, case["out/output"]
