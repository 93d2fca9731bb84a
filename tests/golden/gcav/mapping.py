"""GCAV: every network and loss of the framework, in evaluation mode."""

import functools

import numpy as np
from flax import nnx

from fusion_jax.analysis.gcav.modules import (
    Alignment,
    AttentionFusion,
    Autoencoder,
    TransformerFusion,
    alignment_loss,
    consistency,
    fusion_loss,
    info_nce,
    reconstruction_loss,
    tcav,
)
from tests.golden_options import divisors, matching
from tests.helpers import assign, linear, run

RTOL = {"components": 1e-5}  # of the part tcav.*, which is float32; `exact` holds the rest to 1e-9


def exact(name, ours, reference):
    assert np.asarray(ours).dtype == np.float64, f"{name}: computed in {np.asarray(ours).dtype}"
    np.testing.assert_allclose(ours, reference, rtol=1e-9, atol=1e-9 * np.abs(reference).max(), err_msg=name)
    return name, ours, reference


def layer(ours, case, theirs):
    return linear(ours, case, f"{theirs}.weight", f"{theirs}.bias")


def norm(ours, case, theirs):
    return {f"{ours}.scale": case[f"{theirs}.weight"], f"{ours}.bias": case[f"{theirs}.bias"]}


def autoencoder(case):
    hidden, dim = case["ae.encoder.0.weight"].shape
    width = case["ae.embedded"].shape[1]
    module = nnx.eval_shape(lambda: Autoencoder(dim, hidden, width, rngs=nnx.Rngs(0)))
    values = {}
    for part in ("encoder", "decoder"):
        values |= layer(f"{part}.fc1", case, f"ae.{part}.0") | layer(f"{part}.fc2", case, f"ae.{part}.3")
    reconstructed, code = run(assign(module, values), case["ae.input"])
    yield exact("ae.embedded", code, case["ae.embedded"])
    yield exact("ae.reconstructed", reconstructed, case["ae.reconstructed"])
    yield exact("ae.cosine_loss", reconstruction_loss(reconstructed, case["ae.input"]), case["ae.cosine_loss"])


def alignment(case):
    hidden, dim = case["align.projection.0.weight"].shape
    values = norm("norm1", case, "align.projection.1") | norm("norm2", case, "align.projection.5")
    for ours, theirs in (("linear1", 0), ("linear2", 4), ("linear3", 8)):
        values |= layer(ours, case, f"align.projection.{theirs}")
    module = assign(nnx.eval_shape(lambda: Alignment(dim, hidden, rngs=nnx.Rngs(0))), values)
    codes = [case[n] for n in ("anchor", "positive", "negatives")]
    emb = [run(module, c) for c in codes]
    for name, ours in zip(("anchor_emb", "positive_emb", "negative_emb"), emb, strict=True):
        yield exact(name, ours, case[name])
    yield exact("infonce_t0.1", info_nce(*emb), case["infonce_t0.1"])
    yield exact("consistency", consistency(*emb[:2], *codes[:2]), case["consistency"])
    yield exact("align_total", alignment_loss(emb, codes), case["align_total_nce1_con3"])


def attention_fusion(case):
    values = {"query": case["attfuse.query"]}
    values |= layer("key", case, "attfuse.key") | layer("value", case, "attfuse.value")
    for over in ("layers", "batch"):
        make = functools.partial(AttentionFusion, case["attfuse.query"].shape[1], over=over)
        module = assign(nnx.eval_shape(lambda make=make: make(rngs=nnx.Rngs(0))), values)
        name = "output_softmax_over_layers" if over == "layers" else "output_reference_softmax_over_batch"
        yield exact(name, run(module, case["attfuse.input"]), case[f"attfuse.{name}"])


def transformer_fusion(case):
    layers, dim = case["fuse.position_encoding"].shape
    values = {"position": case["fuse.position_encoding"]} | norm("norm1", case, "fuse.layer_norm1")
    values |= norm("norm2", case, "fuse.layer_norm2") | layer("output", case, "fuse.output_layer")
    values |= layer("ffn.fc1", case, "fuse.ffn.0") | layer("ffn.fc2", case, "fuse.ffn.2")
    values |= layer("attention.out", case, "fuse.attention_layer.out_proj")
    weights = np.split(case["fuse.attention_layer.in_proj_weight"], 3)
    biases = np.split(case["fuse.attention_layer.in_proj_bias"], 3)
    for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
        values |= {f"attention.{name}.kernel": weight.T, f"attention.{name}.bias": bias}

    def fused(heads):
        hidden = case["fuse.ffn.0.bias"].size
        make = functools.partial(TransformerFusion, dim, layers, heads=heads, hidden=hidden)
        module = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
        return {"y": run(assign(module, values), case["fuse.input"])}

    # the number of heads is in no array; the README says 2
    found = matching(fused, [(h,) for h in divisors(dim, 2)], case["fuse.output"])
    yield exact("fuse.output", found["y"], case["fuse.output"])


def scores(case):
    layers = case["tcav.score_layers_by_batch"].shape[0]
    weights = [case[f"tcav.decoder{l}.weight"].astype(np.float64) for l in range(layers)]
    biases = [case[f"tcav.decoder{l}.bias"].astype(np.float64) for l in range(layers)]
    decoders = [lambda x, w=w, b=b: x @ w.T + b for w, b in zip(weights, biases, strict=True)]
    gradients = [case[f"tcav.grad{l}"] for l in range(layers)]
    found = [tcav(g, d(case["fuse.output"])) for g, d in zip(gradients, decoders, strict=True)]
    yield "tcav.score_layers_by_batch", np.stack(found), case["tcav.score_layers_by_batch"]
    loss = fusion_loss(case["fuse.input"], case["fuse.output"], decoders, gradients)
    yield "tcav.loss_var3_sim1", loss, case["tcav.loss_var3_sim1"]


def components(case):
    for part in (autoencoder, alignment, attention_fusion, transformer_fusion, scores):
        yield from part(case)
