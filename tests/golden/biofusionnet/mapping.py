"""BioFusionNet's parameter names onto ours."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.encoders.patch_self_attention import PatchSelfAttention
from fusion_jax.encoders.vae import VAE, sample
from fusion_jax.fusion.biofusionnet import CoDualCrossAttention
from fusion_jax.graphs import Graph
from fusion_jax.losses.cox import cox
from fusion_jax.records import EVALUATION, Output, Target
from tests.helpers import assign, prefixed
from tests.torch_names import torch_encoder_layer, torch_linear


def linears(case, names):
    values = {}
    for name in names:
        values |= torch_linear(name, case, f"param/{name}")
    return values


def comodel_of(case):
    layers = len({n.split(".")[2] for n in case if n.startswith("param/encoder.layers.")})
    module = CoDualCrossAttention(
        case["img"].shape[1],
        case["gene"].shape[1],
        heads=int(case["nhead"]),
        layers=layers,
        hidden=case["param/encoder.layers.0.linear1.bias"].size,
        rate=0.0,
        rngs=nnx.Rngs(0),
    )
    values = {}
    for i in range(layers):
        values |= prefixed("encoder", torch_encoder_layer(str(i), case, f"param/encoder.layers.{i}."))
    rest = {n[6:].rpartition(".")[0] for n in case if n.startswith("param/") and "encoder" not in n}
    return assign(module, values | linears(case, rest))


def co_dual_cross_attention(case):
    module, img, gene = comodel_of(case), jnp.asarray(case["img"]), jnp.asarray(case["gene"])
    n = len(img)
    everybody = jnp.ones(n, bool)
    receivers, senders = np.divmod(np.arange(n * n), n)
    keys = Graph.create(senders, receivers, n).looped, everybody
    steps = module.steps(img, gene, keys, keys)
    for name in steps._fields[:6]:
        yield name, getattr(steps, name), case[name]
    yield "out_batch", steps.out, case["out_batch"]
    keys = Graph.create(np.zeros(0, int), np.zeros(0, int), n).looped, everybody
    yield "out_one_by_one", module.steps(img, gene, keys, keys).out, case["out_one_by_one"]


def patch_self_attention(case):
    n, patches, width = case["patches"].shape
    module = PatchSelfAttention(patches * width, case["param/query.bias"].size, patches=patches, rngs=nnx.Rngs(0))
    assign(module, linears(case, ("query", "key", "value")))
    yield "out", module(jnp.asarray(case["patches"].reshape(n, -1))), case["out"]


def vae(case):
    x, eps = jnp.asarray(case["x"]), jnp.asarray(case["eps"])
    hidden, latent = case["param/fc1.bias"].size, case["param/fc21.bias"].size
    module = VAE(x.shape[1], latent, hidden=hidden, rngs=nnx.Rngs(0))
    assign(module, linears(case, ("fc1", "fc21", "fc22", "fc3", "fc4")))
    mu, logvar = module.encode(x)
    z = sample(mu, logvar, eps)
    error, kld = module.terms(x, jnp.ones(len(x), bool), eps)
    yield "mu", mu, case["mu"]
    yield "logvar", logvar, case["logvar"]
    yield "z", z, case["z"]
    yield "recon", module.decode(z), case["recon"]
    yield "loss_mse_sum", error, case["loss_mse_sum"]
    yield "loss_kld_sum", kld, case["loss_kld_sum"]
    yield "loss_total", error + module.beta * kld, case["loss_total"]
    yield "extract_features", module(x), case["extract_features"]


def weighted_cox(case):
    risk, weight = jnp.asarray(case["risk"]), jnp.asarray(case["weight"])
    n = len(risk)
    output = Output(risk[:, None], None, jnp.zeros((n, 1, 1)), None, jnp.ones((n, 1), bool))
    target = Target("survival", time=jnp.asarray(case["time"]), event=jnp.asarray(case["event"]) > 0)
    one = jnp.ones_like(weight)
    for name, w, order in (
        ("loss_reference_risk_sorted", weight, "risk"),
        ("loss_constant_weight5_reference", 5 * one, "risk"),
        ("loss_unit_weight_reference", one, "risk"),
        ("loss_time_sorted_independent", weight, "time"),
        ("loss_time_sorted_unit_weight_independent", one, "time"),
    ):
        yield name, cox(output, target, w, context=EVALUATION, order=order), case[name]
