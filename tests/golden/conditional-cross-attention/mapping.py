"""Conditional cross-attention: one block under all its conditions."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.conditional_cross_attention import ConditionalBlock
from fusion_jax.losses.conditional_triplet import unit
from tests.helpers import assign, run
from tests.torch_names import torch_attention, torch_linear, torch_norm


def steps(net, tokens, mask):
    e, weights = jax.vmap(net)(tokens, mask)
    a, _ = jax.vmap(net.asked)(tokens, mask)
    return jax.vmap(net.after)(tokens, a), e, unit(e), weights


def block(case):
    tokens, heads = case["tokens"], int(case["cfg_heads"])
    conditions, dim = case["param/embedding.weight"].shape
    hidden, out = len(case["param/con_encoder.mlp.0.weight"]), len(case["param/dis_proj.weight"])
    sizes = dim, conditions, heads, hidden, out
    net = nnx.eval_shape(lambda: ConditionalBlock(*sizes, rate=0.0, rngs=nnx.Rngs(0)))
    values = {"embedding": case["param/embedding.weight"]}
    values |= torch_attention("cross_attention", case, "param/con_encoder.cross_attention.")
    values |= torch_norm("ln", case, "param/ln") | torch_linear("dis_proj", case, "param/dis_proj")
    for ours, theirs in (("mlp.fc1", "mlp.0"), ("mlp.fc2", "mlp.3")):
        values |= torch_linear(ours, case, f"param/con_encoder.{theirs}")
    for norm in ("ln_1", "ln_2"):
        values |= torch_norm(norm, case, f"param/con_encoder.{norm}")
    assign(net, values)
    after, e, lengths, weights = run(net, tokens, np.ones(tokens.shape[:2], bool), by=steps)
    yield "tokens_out", after, case["tokens_out"]
    yield "embedding", e, case["embedding"]
    yield "embedding_l2", lengths, case["embedding_l2"]
    every = jnp.moveaxis(jnp.asarray(weights), 1, 2)[..., None, :]
    yield "attn", np.broadcast_to(every, case["attn"].shape), case["attn"]  # the same at all positions
