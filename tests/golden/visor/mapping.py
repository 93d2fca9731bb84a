"""VISOR: the stack of three kinds of layers on text and vision tokens, and labels of the cheapest sufficient budget."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.visor.blocks import Block, Reading
from fusion_jax.schemes.visor import cheapest
from tests.helpers import assign
from tests.torch_names import torch_linear, torch_norm


def attention(prefix, case, name):
    ours = {"query": "q", "key": "k", "value": "v", "out": "o"}
    values = {}
    for part, short in ours.items():
        values |= torch_linear(f"{prefix}.{part}", case, f"{name}.{short}")
    return values


def blocks(case, dim, heads, count):
    for i in range(count):
        block = Block(dim, heads, len(case[f"param/{i}.fc1.bias"]), rngs=nnx.Rngs(0))
        values = attention("sa", case, f"param/{i}.sa")
        for part in ("fc1", "fc2"):
            values |= torch_linear(part, case, f"param/{i}.{part}")
        for part in ("norm1", "norm2"):
            values |= torch_norm(part, case, f"param/{i}.{part}")
        yield assign(block, values)


def reading(case, dim, heads, i):
    values = attention("ca", case, f"param/{i}.ca") | torch_norm("norm_ca", case, f"param/{i}.norm_ca")
    return assign(Reading(dim, heads, rngs=nnx.Rngs(0)), values)


def convolved(vision, weight, bias):
    """Depthwise along the sequence, zeros beyond its ends: what the learned vector of a modality stands for."""
    width = weight.shape[1]
    padded = np.pad(vision, ((0, 0), (width // 2, width // 2), (0, 0)))
    windows = [padded[:, i : i + vision.shape[1]] * weight[:, i] for i in range(width)]
    return np.sum(windows, axis=0) + bias


def stack(case):
    kinds, heads = case["layer_kinds"].tolist(), int(case["cfg_heads"])
    text, vision = case["text_tokens"], case["vision_tokens"]
    dim = text.shape[-1]
    layers = list(blocks(case, dim, heads, len(kinds)))
    budgets = sum(name.startswith("text_out_active") for name in case)
    for budget in range(budgets):
        t, v, left, crossed = jnp.asarray(text), jnp.asarray(vision), budget, []
        for i, (kind, block) in enumerate(zip(kinds, layers, strict=True)):
            if kind == "ca":
                coded = np.asarray(v) + convolved(
                    np.asarray(v), case[f"param/{i}.dwconv.weight"], case[f"param/{i}.dwconv.bias"]
                )
                t, _ = reading(case, dim, heads, i)(t, jnp.asarray(coded))
                crossed.append(t)
            if kind == "sa" and left:
                left -= 1
                both = block.sequence(jnp.concatenate([v, t], axis=1))
                v, t = both[:, : v.shape[1]], both[:, v.shape[1] :]
            else:
                t = block.sequence(t)
        yield f"text with {budget}", t, case[f"text_out_active{budget}"]
        yield f"vision with {budget}", v, case[f"vision_out_active{budget}"]
        yield f"cross with {budget}", jnp.stack(crossed), case[f"cross_out_active{budget}"]
    order = np.argsort(case["policy_cost"], kind="stable")
    score = jnp.asarray(case["policy_score"])
    label = cheapest(score, jnp.asarray(case["policy_cost"]), float(case["policy_threshold"]))
    yield "labels", label, case["policy_pseudo_label"]
    assert order[-1] == len(order) - 1  # the last is the full one
