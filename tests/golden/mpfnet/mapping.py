"""MPFNet: the triplet loss, the two pointwise gates, and prototype fusion in both forms."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.two_gates import TwoGates
from fusion_jax.losses.triplet import margin_loss
from fusion_jax.nn.prototypes import cosine
from fusion_jax.records import EVALUATION, Batch, Output, Target
from fusion_jax.schemes.mpfnet import TwoEncoders, remember
from tests.helpers import assign, shown, to_float64


def triplet(case):
    weight = jnp.ones(len(case["anchor"]))
    three = (jnp.asarray(case[k]) for k in ("anchor", "positive", "negative"))
    yield "loss", margin_loss(*three, weight, margin=float(case["margin"])), case["loss"]


def repo_coordinate_attention(case):
    """The positions of a sample are the modalities of a node."""
    x = np.moveaxis(case["x"], 1, -1)  # [B, T, H, W, C]
    tokens = x.reshape(len(x), -1, x.shape[-1])
    hidden = len(case["param/channel_attention.0.bias"])
    values = {}
    for name in ("channel_attention", "spatial_attention"):
        for ours, i in (("fc1", 0), ("fc2", 2)):
            weight = case[f"param/{name}.{i}.weight"]
            values[f"{name}.{ours}.kernel"] = weight.reshape(weight.shape[:2]).T
            values[f"{name}.{ours}.bias"] = case[f"param/{name}.{i}.bias"]
    module = assign(TwoGates(tokens.shape[1], tokens.shape[2], hidden=hidden, rngs=nnx.Rngs(0)), values)
    fused = module(jnp.asarray(tokens), jnp.ones(tokens.shape[:2], bool))
    yield "out", jnp.moveaxis(jnp.asarray(fused.tokens).reshape(x.shape), -1, 1), case["out"]


class Leaky(nnx.Module):
    """The encoder of the reference's case: its hidden state is max(x W, 0) + leak x W."""

    def __init__(self, weight, leak):
        self.kernel, self.leak = nnx.Param(jnp.asarray(weight)), float(leak)

    def __call__(self, batch, *, context=EVALUATION):
        z = batch.features["x"] @ self.kernel[...]
        hidden = jnp.maximum(z, 0) + self.leak * z
        return Output(hidden, None, hidden[:, None], hidden, batch.mask)


def prototype_fusion_independent(case):
    support, query = case["support"], case["query"]
    n, classes = len(support), int(case["support_label"].max()) + 1
    labels = jnp.concatenate([jnp.asarray(case["support_label"]), jnp.zeros(len(query), int)])
    batch = Batch({"x": jnp.concatenate([support, query])}, jnp.ones((n + len(query), 1), bool), None)
    target = Target("classes", labels=labels, num_outputs=classes)
    weight = jnp.arange(n + len(query)) < n

    def fused(form, advanced):
        width = case["W_gfe"].shape[1]
        encoders = Leaky(case["W_gfe"], case["leak"]), Leaky(case[advanced], case["leak"])
        model = to_float64(TwoEncoders(*encoders, classes, width, form=form, gamma=float(case["gamma"])))
        remember(model, batch, target, weight.astype(jnp.float64))
        return model, model(batch)

    model, output = fused("parallel", "W_afe")
    hidden = output.hidden.reshape(len(labels), 2, -1)
    for i, name in enumerate(("gfe", "afe")):
        yield f"proto_{name}", model.prototypes[i], case[f"proto_{name}"]
        yield f"sim_{name}", cosine(hidden[n:, i], model.prototypes[i]), case[f"sim_{name}"]
    yield "sim_parallel", shown(output, "prototypes")[n:], case["sim_parallel"]
    yield "prob_parallel", jax.nn.softmax(output.prediction[n:]), case["prob_parallel"]
    model, output = fused("cascaded", "W_afe_cascade")
    yield "proto_cascade", model.prototypes[1], case["proto_cascade"]
    yield "sim_cascade", shown(output, "prototypes")[n:], case["sim_cascade"]
    yield "prob_cascade", jax.nn.softmax(output.prediction[n:]), case["prob_cascade"]
