"""MBT: all normalised tokens, and the mean of the class tokens' logits where the whole model was run."""

import jax
import numpy as np
from flax import nnx

from fusion_jax.fusion.mbt import MBT
from tests.helpers import assign

BLOCK = {
    "norm0.scale": "LayerNorm_0/scale",
    "norm0.bias": "LayerNorm_0/bias",
    "norm1.scale": "LayerNorm_1/scale",
    "norm1.bias": "LayerNorm_1/bias",
    "mlp.fc1.kernel": "MlpBlock_0/Dense_0/kernel",
    "mlp.fc1.bias": "MlpBlock_0/Dense_0/bias",
    "mlp.fc2.kernel": "MlpBlock_0/Dense_1/kernel",
    "mlp.fc2.bias": "MlpBlock_0/Dense_1/bias",
}


def suffixes(case):
    """The reference leaves the name of the modality "rgb" out of its parameters, or joins it with "_"."""
    return [("", "") if name == "rgb" else (f"_{name}", str(name)) for name in case["in/modalities"]]


def block(case, layer, names):
    """Parameters of one layer: the modalities' blocks stacked."""
    refs = [f"param/Transformer/encoderblock_{layer}{suffix}/" for suffix, _ in names]
    values = {ours: np.stack([case[r + theirs] for r in refs]) for ours, theirs in BLOCK.items()}
    dim = case["in/x"].shape[2]
    for name in ("query", "key", "value", "out"):
        at = [f"{r}MultiHeadDotProductAttention_0/{name}/" for r in refs]
        values[f"attention.{name}.kernel"] = np.stack([case[a + "kernel"].reshape(dim, dim) for a in at])
        values[f"attention.{name}.bias"] = np.stack([case[a + "bias"].reshape(dim) for a in at])
    return {f"encoderblocks.{layer}.{k}": v for k, v in values.items()}


def build(case):
    x, names = case["in/x"], suffixes(case)
    _, modalities, dim = x.shape
    layers = len({k.split("/")[2].split("_")[1] for k in case if "encoderblock_" in k})
    patch = case[f"param/embedding{names[0][0]}/kernel"].shape[1]
    head = f"param/Transformer/encoderblock_0{names[0][0]}/"
    module = MBT(
        modalities,
        dim,
        tokens=dim // patch,
        bottlenecks=case["param/bottleneck"].shape[1],
        layers=layers,
        fusion_layer=int(case["in/fusion_layer"]),
        heads=case[head + "MultiHeadDotProductAttention_0/query/kernel"].shape[1],
        hidden=case[head + "MlpBlock_0/Dense_0/kernel"].shape[1],
        rngs=nnx.Rngs(0),
    )
    values = {
        "embedding.kernel": np.stack([case[f"param/embedding{s}/kernel"][0, :, 0] for s, _ in names]),
        "embedding.bias": np.stack([case[f"param/embedding{s}/bias"] for s, _ in names]),
        "cls": np.stack([case[f"param/cls{n}"][0] for _, n in names]),
        "pos_embedding": np.stack([case[f"param/Transformer/posembed_input{s}/pos_embedding"][0] for s, _ in names]),
        "bottleneck": case["param/bottleneck"][0],
        "encoder_norm.scale": case["param/Transformer/encoder_norm/scale"],
        "encoder_norm.bias": case["param/Transformer/encoder_norm/bias"],
    }
    for layer in range(layers):
        values |= block(case, layer, names)
    return assign(module, values), x, np.ones(x.shape[:2], bool)


def encoder(case):
    module, x, mask = build(case)
    encoded = jax.vmap(lambda a, b: module.encode(a, b))(x, mask)
    reference = case["out/encoded"]
    yield "encoded", encoded.reshape(reference.shape), reference
    fused, streams = module(x, mask), reference.reshape(*x.shape[:2], -1, x.shape[2])
    yield "class tokens", fused.tokens, streams[:, :, 0]
    yield "mean of class tokens", fused.out, streams[:, :, 0].mean(1)


def model(case):
    yield from encoder(case)
    module, x, mask = build(case)
    kernel, bias = case["param/output_projection/kernel"], case["param/output_projection/bias"]
    yield "logits", module(x, mask).out @ kernel + bias, case["out/logits"]
