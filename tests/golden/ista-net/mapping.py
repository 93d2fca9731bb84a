"""ISTA-Net: the tokenizer and the whole network, BatchNorm with running statistics."""

import functools
import re

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.ista_net.token_network import TokenNetwork, tokenize
from tests.helpers import assign, prefixed, run


def window_of(case):
    """The window (Tw, Jw, Ew) is not stored: of those the shapes allow, the one that gives these tokens."""
    x, tokens = np.moveaxis(case["in/x"], 1, -1), np.moveaxis(case["out/tokens"], 1, -1)
    frames, places = tokens.shape[1:3]
    windows = [(frames, places // e, e) for e in range(1, places + 1) if places % e == 0]
    shapes = [(w, tokenize(x, w)) for w in windows]
    fits = [w for w, t in shapes if t.shape == tokens.shape]
    return next((w for w, t in shapes if t.shape == tokens.shape and np.array_equal(t, tokens)), fits[0])


def conv(case, name):
    """A Conv3d `name.0`, of size 1 on all axes but one, and the BatchNorm3d `name.1` after it."""
    kernel = case[f"param/{name}.0.weight"]
    kernel = kernel.reshape(*kernel.shape[:2], -1).transpose(2, 1, 0)
    norm = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    return {"kernel": kernel, "bias": case[f"param/{name}.0.bias"]} | prefixed(
        "norm", {ours: case[f"param/{name}.1.{theirs}"] for ours, theirs in norm.items()}
    )


def block(case, b):
    name = f"blocks.{b}"
    out = {
        "alpha": case[f"param/{name}.alpha"].reshape(-1),
        "static": case[f"param/{name}.M"][0],
        "to_qk.kernel": case[f"param/{name}.to_qkvs.weight"][..., 0, 0, 0].T,
        "to_qk.bias": case[f"param/{name}.to_qkvs.bias"],
    }
    if f"param/{name}.pes.pe" in case:  # the reference's table is rounded to float32: take it as it is
        out["pe"] = case[f"param/{name}.pes.pe"][0, :, 0, 0, :].T
    parts = {
        "proj": "proj",
        "FFN": "ffn",
        "TA": "temporal",
        "residual": "residual",
        "residual_TA": "residual_temporal",
    }
    for theirs, ours in parts.items():
        if f"param/{name}.{theirs}.0.weight" in case:
            out |= prefixed(ours, conv(case, f"{name}.{theirs}"))
    return out


def build(case):
    embed, channels = case["param/embed.0.weight"].shape[:2]
    count = 1 + max(int(m[1]) for m in (re.match(r"param/blocks\.(\d+)\.", k) for k in case) if m)
    heads, tokens = case["param/blocks.0.M"].shape[1:3]
    blocks = [
        (
            case[f"param/blocks.{b}.proj.0.weight"].shape[0],
            case[f"param/blocks.{b}.to_qkvs.weight"].shape[0] // (2 * heads),
        )
        for b in range(count)
    ]
    kernels = case["param/blocks.0.TA.0.weight"].shape[2], case["param/blocks.0.proj.0.weight"].shape[-1]
    make = functools.partial(
        TokenNetwork,
        channels,
        embed,
        blocks,
        case["param/fc.bias"].size,
        tokens,
        heads=heads,
        kernels=kernels,
        positions="param/blocks.0.pes.pe" in case,
        norm="batch",
        rate=0.0,
        head_rate=0.0,
    )
    net = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    values = prefixed("embed", conv(case, "embed"))
    values |= {"fc.kernel": case["param/fc.weight"].T, "fc.bias": case["param/fc.bias"]}
    for b in range(count):
        values |= prefixed(f"blocks.{b}", block(case, b))
    return assign(net, values)


def steps(net, tokens, reverse):
    present = jnp.ones(tokens.shape[:-1], bool)
    embedded = net.embedded(tokens, present)
    return embedded, *net.blocks[0](embedded, present), *net(tokens, present), net(reverse, present)[0]


def model(case):
    net, window = build(case), window_of(case)
    x = np.moveaxis(case["in/x"], 1, -1)

    def channels_first(a):
        return np.moveaxis(np.asarray(a), -1, 1)

    tokens, reverse = (np.asarray(tokenize(a, window)) for a in (x, x[:, :, :, ::-1]))
    embedded, first, attention, logits, maps, reversed_logits = run(net, tokens, reverse, by=steps)
    yield "tokens", channels_first(tokens), case["out/tokens"]
    yield "embed", channels_first(embedded), case["out/embed"]
    yield "block0_attention", attention, case["out/block0_attention"]
    yield "block0", channels_first(first), case["out/block0"]
    yield "logits", logits, case["out/logits"]
    yield "attention in the network", maps[:, 0], case["out/block0_attention"]
    yield "logits_entities_reversed", reversed_logits, case["out/logits_entities_reversed"]
