"""FiLM: the generator's linear decoder and a row of modulated residual blocks on maps of one pixel."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.film import Film
from fusion_jax.records import Context
from tests.helpers import assign, linear, state


def build(case):
    x = case["in/x"]
    blocks = case["out/film"].shape[1]
    batch_norm = "param/function_modules.0.bn1.running_mean" in case
    module = Film(x.shape[1], x.shape[2], anchor=0, blocks=blocks, batch_norm=batch_norm, rngs=nnx.Rngs(0))
    values = linear("decoder_linear", case, "param/decoder_linear.weight", "param/decoder_linear.bias")
    for i in range(blocks):
        for name in ("input_proj", "conv1"):
            ref = f"param/function_modules.{i}.{name}"
            values[f"blocks.{i}.{name}.kernel"] = case[f"{ref}.weight"][:, :, 0, 0].T
            values[f"blocks.{i}.{name}.bias"] = case[f"{ref}.bias"]
        if batch_norm:
            for ours, theirs in (("mean", "running_mean"), ("var", "running_var")):
                values[f"blocks.{i}.bn1.{ours}"] = case[f"param/function_modules.{i}.bn1.{theirs}"]
    return assign(module, values), x, np.ones(x.shape[:2], bool)


def outputs(case, key=None):
    module, x, mask = build(case)
    fused = module(x, mask, context=Context(key=key))
    yield (
        "film",
        jnp.stack([state(fused, "gamma"), state(fused, "beta")], 2).reshape(case["out/film"].shape),
        case["out/film"],
    )
    last = len(module.blocks) - 1
    yield f"block_{last}", fused.out, case[f"out/block_{last}"]
    for i in range(last):  # a shorter row of the same blocks ends where the longer one passes
        shorter, x, mask = build(case)
        shorter.blocks = nnx.List(list(shorter.blocks)[: i + 1])
        shorter.decoder_linear.kernel.set_value(module.decoder_linear.kernel[:, : 2 * x.shape[2] * (i + 1)])
        shorter.decoder_linear.bias.set_value(module.decoder_linear.bias[: 2 * x.shape[2] * (i + 1)])
        yield f"block_{i}", shorter(x, mask, context=Context(key=key)).out, case[f"out/block_{i}"]
    if key is not None:
        for i, block in enumerate(module.blocks):
            yield f"running_mean_{i}", block.bn1.mean[...], case[f"out/running_mean_{i}"]
            yield f"running_var_{i}", block.bn1.var[...], case[f"out/running_var_{i}"]


def filmed_net(case):
    yield from outputs(case)


def filmed_net_no_batchnorm(case):
    yield from outputs(case)


def filmed_net_training(case):
    yield from outputs(case, key=jax.random.key(0))
