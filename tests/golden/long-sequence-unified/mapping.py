"""The template's mixers and the states of the ring, whose devices are an axis of `jax.vmap` here."""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.nn import long_sequence as mixers
from fusion_jax.nn.ring_attention import revolve
from fusion_jax.nn.running_softmax import finish, heads_first
from tests.helpers import assign


def ring_attention(case):
    x, mask, heads = jnp.asarray(case["X"]), jnp.asarray(case["mask"]), int(case["heads"])
    length, dim = x.shape
    width, everybody, rngs = case["W_Q"].shape[1], jnp.ones(length, bool), nnx.Rngs(0)
    weights = {
        f"{ours}.kernel": case[f"W_{theirs}"] for ours, theirs in zip(("query", "key", "value"), "QKV", strict=True)
    }
    softmax = assign(mixers.Softmax(dim, width, heads, rngs=rngs), weights)
    yield "attention", softmax.weights(x, mask), case["attention"]
    for block in (length, 3):
        softmax.block = block
        yield f"out, blocks of {block}", softmax.mix(x, mask) @ case["W_O"], case["out"]
    yield from _ring(softmax, case)
    linear = assign(mixers.Linear(dim, width, heads, rngs=rngs), weights)
    yield "linear_attention_elu", linear.mix(x, mask), case["linear_attention_elu"]
    rank = len(case["linformer_E"])
    low_rank = mixers.LowRank(length, dim, width, heads, rank=rank, rngs=rngs)
    assign(low_rank, {**weights, "combine": case["linformer_E"]})
    yield "linformer", low_rank.mix(x, everybody), case["linformer"]
    yield "fnet", mixers.Fourier().mix(x, everybody), case["fnet"]
    mixer = assign(mixers.MLPMix(length, rngs=rngs), {"fc1.kernel": case["mixer_W"].T})
    yield "mixer", mixer.mix(x, everybody), case["mixer"]
    kernel = case["circular_kernel"]
    convolution = assign(mixers.Convolution(len(kernel), rngs=rngs), {"kernel": kernel})
    yield "circular_conv", convolution.mix(x, everybody), case["circular_conv"]


def _ring(softmax, case):
    shards = int(case["shards"])
    mask = jnp.asarray(case["mask"])
    q, k, v = (heads_first(a) for a in softmax.projected(jnp.asarray(case["X"])))

    def laid_out(a, axis):  # the shards as a leading axis
        return jnp.moveaxis(a.reshape(*a.shape[:axis], shards, -1, *a.shape[axis + 1 :]), axis, 0)

    def device(q, k, v, valid, group):
        return revolve(q, k, v, valid, group, shards=shards, block=1)

    given = *(laid_out(a, 1) for a in (q, k, v)), laid_out(mask, 0), laid_out(jnp.zeros(len(mask), jnp.int32), 0)
    last, states = jax.vmap(device, axis_name="nodes")(*given)
    for name in "mlo":  # [device, step, ...]
        yield f"ring_{name}", getattr(states, name), case[f"ring_{name}"]
    out = jnp.moveaxis(finish(last), 1, 2).reshape(len(mask), -1)
    yield "ring_out", out @ case["W_O"], case["ring_out"]
