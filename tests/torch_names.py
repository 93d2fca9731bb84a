"""PyTorch's parameter names onto ours, for golden cases whose reference is a PyTorch module.

Each function returns {our path: array} for `helpers.assign`; `prefix` is where our module stands,
`torch_prefix` what stands before the names in the case, for instance "param/encoder.layers.0.".
"""

from __future__ import annotations

import numpy as np

from tests.helpers import linear, prefixed


def torch_norm(prefix: str, case: dict, name: str) -> dict:
    """{prefix.scale, prefix.bias} of a LayerNorm (or BatchNorm) called `name` in the case."""
    return {f"{prefix}.scale": case[f"{name}.weight"], f"{prefix}.bias": case[f"{name}.bias"]}


def torch_linear(prefix: str, case: dict, name: str) -> dict:
    """{prefix.kernel, prefix.bias} of an nn.Linear called `name` in the case, the bias if it has one."""
    bias = f"{name}.bias"
    return linear(prefix, case, f"{name}.weight", bias if bias in case else None)


def torch_attention(prefix: str, case: dict, torch_prefix: str) -> dict:
    """An nn.MultiheadAttention onto `nn.attention.MultiHeadAttention` at `prefix`.

    in_proj_weight [3 D, D] stacks query, key and value, each (out, in).
    """
    parts = ("query", "key", "value")
    weights = np.split(case[f"{torch_prefix}in_proj_weight"], 3)
    out = {f"{prefix}.{part}.kernel": w.T for part, w in zip(parts, weights, strict=True)}
    bias = f"{torch_prefix}in_proj_bias"
    if bias in case:
        biases = np.split(case[bias], 3)
        out |= {f"{prefix}.{part}.bias": b for part, b in zip(parts, biases, strict=True)}
    return out | torch_linear(f"{prefix}.out", case, f"{torch_prefix}out_proj")


def _layer(case: dict, torch_prefix: str, attentions: tuple[str, ...], norms: int) -> dict:
    out = {}
    for name in attentions:
        out |= torch_attention(name, case, f"{torch_prefix}{name}.")
    for name in ("linear1", "linear2"):
        out |= torch_linear(name, case, torch_prefix + name)
    for i in range(1, norms + 1):
        out |= torch_norm(f"norm{i}", case, f"{torch_prefix}norm{i}")
    return out


def torch_encoder_layer(prefix: str, case: dict, torch_prefix: str) -> dict:
    """An nn.TransformerEncoderLayer onto `nn.transformer.EncoderLayer` at `prefix` ("" for itself)."""
    values = _layer(case, torch_prefix, ("self_attn",), 2)
    return prefixed(prefix, values) if prefix else values


def torch_decoder_layer(prefix: str, case: dict, torch_prefix: str) -> dict:
    """An nn.TransformerDecoderLayer onto `nn.transformer.DecoderLayer` at `prefix` ("" for itself)."""
    values = _layer(case, torch_prefix, ("self_attn", "multihead_attn"), 3)
    return prefixed(prefix, values) if prefix else values
