"""Forum self-attention: every reduction, both scales, the node token and the concatenation baselines."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.concat_linear import ConcatLinear
from fusion_jax.fusion.concat_mlp import ConcatMlp
from fusion_jax.fusion.free_query import FreeQuery
from fusion_jax.fusion.node_query import NodeQuery
from fusion_jax.fusion.node_token import NodeToken
from fusion_jax.fusion.self_attention import SelfAttention
from fusion_jax.records import EVALUATION
from tests.helpers import assign, linear, prefixed, run, shown

# What the suffixes of the reference's outputs mean.
SCALES = {"sqrtp": "sqrt_p", "sqrtD": "sqrt_D", "noscale": "none"}


def self_attention_of(case, reduction, suffix):
    dim, width = case["param/W_q"].shape
    module = SelfAttention(
        case["in/x"].shape[1], dim, reduction=reduction, scale=SCALES[suffix], width=width, rngs=nnx.Rngs(0)
    )
    return assign(
        module,
        {
            "query.kernel": case["param/W_q"],
            "key.kernel": case["param/W_k"],
            "value.kernel": case["param/W_v"],
        },
    )


def one_query_of(cls, case, suffix, query):
    dim, width = case["param/W_k"].shape
    module = cls(case["in/x"].shape[1], dim, scale=SCALES[suffix], width=width, rngs=nnx.Rngs(0))
    return assign(module, {**query, "key.kernel": case["param/W_k"], "value.kernel": case["param/W_v"]})


def suffixes(case):
    return sorted(n.rsplit("_", 1)[1] for n in case if n.startswith("out/weights_"))


def attend_from(module, own, x, mask):
    return jax.vmap(module.attend)(own, x, mask)


def pooling_options(case):
    x, mask = case["in/x"], case["in/mask"].astype(bool)
    for suffix in suffixes(case):
        ending = f"_{suffix}"
        out = {n[4:].removesuffix(ending): v for n, v in case.items() if n.endswith(ending)}
        for reduction in ("sum", "mean", "max"):
            module = self_attention_of(case, reduction, suffix)
            fused = run(module, x, mask)
            yield f"pool_{reduction}_{suffix}", fused.out, out[f"pool_{reduction}"]
        # A misreading of the thread (mean over a token's features), not a fusion output; `__call__` masks it.
        yield f"pool_features_mean_{suffix}", jnp.asarray(fused.tokens).mean(-1), out["pool_features_mean"]
        # The rows of absent queries are stored too, with what stood in x, which `__call__` zeroes.
        fused = run(module, x, mask, None, EVALUATION, by=SelfAttention.nodes)
        yield f"weights_{suffix}", shown(fused, "attention"), out["weights"]
        yield f"Z_{suffix}", fused.tokens, out["Z"]
        free = one_query_of(FreeQuery, case, suffix, {"query": case["param/free_query"]})
        fused = run(free, x, mask)
        yield f"free_query_{suffix}", fused.out, out["free_query"]
        yield f"free_query_weights_{suffix}", shown(fused, "query"), out["free_query_weights"]
        node = one_query_of(NodeQuery, case, suffix, {"query.kernel": case["param/W_q_node"]})
        # The stored state is not the mean of the modalities, so the node's own entry is used.
        fused = run(node, case["in/node"], x, mask, by=attend_from)
        yield f"node_query_{suffix}", fused.out, out["node_query"]
        yield f"node_query_weights_{suffix}", shown(fused, "query"), out["node_query_weights"]


def hand(case):
    x = case["in/x"]
    mask = case["in/mask"].astype(bool) if "in/mask" in case else jnp.ones(x.shape[:2], bool)
    fused = self_attention_of(case, "sum", "noscale")(x, mask)
    yield "weights_noscale", shown(fused, "attention"), case["out/weights_noscale"]
    yield "Z_noscale", fused.tokens, case["out/Z_noscale"]
    yield "pool_sum", fused.out, case["out/pool_sum"]


def block_values(case, block):
    prefix = f"param/{block}"
    names = {
        "attention.query": "q",
        "attention.key": "k",
        "attention.value": "v",
        "attention.out": "o",
        "mlp.fc1": "mlp_in",
        "mlp.fc2": "mlp_out",
    }
    values = {f"{n}.{p}": case[f"{prefix}.{n}.{p}"] for n in ("ln1", "ln2") for p in ("scale", "bias")}
    for ours, theirs in names.items():
        weight = f"{prefix}.{theirs}"
        values |= linear(ours, case, f"{weight}.kernel", f"{weight}.bias", transpose=False)
    return values


def node_token_module(case):
    _, modalities, dim = case["in/x"].shape
    blocks = len({n.split(".")[0] for n in case if n.startswith("param/block")})
    heads = sum(n.startswith("out/block0_head") for n in case)
    hidden = case["param/block0.mlp_in.bias"].size
    sizes = dict(blocks=blocks, heads=heads, hidden=hidden)
    module = nnx.eval_shape(lambda: NodeToken(modalities, dim, **sizes, rngs=nnx.Rngs(0)))
    values = {
        "token": case["param/node_token"],
        "embedding": case["param/modality_embedding"],
        "norm.scale": case["param/final_ln.scale"],
        "norm.bias": case["param/final_ln.bias"],
    }
    for b in range(blocks):
        values |= prefixed(f"blocks.{b}", block_values(case, f"block{b}"))
    return assign(module, values)


def call_and_blocks(module, x, mask):
    return module(x, mask), jax.vmap(module.run_blocks)(x, mask)


def node_token(case):
    x, mask = case["in/x"], case["in/mask"].astype(bool)
    module = node_token_module(case)
    fused, (tokens, weights) = run(module, x, mask, by=call_and_blocks)
    yield "y", fused.out, case["out/y"]
    # Absent modalities are stored too, with what stood in x; `__call__` zeroes them on entry and exit.
    yield "tokens", tokens, case["out/tokens"]
    blocks, heads = weights.shape[1:3]
    for b in range(blocks):
        for h in range(heads):
            name = f"block{b}_head{h}_token_weights"
            yield name, shown(fused, "token")[:, b, h], case[f"out/{name}"]


def baselines_concat(case):
    x, mask = case["in/x"], case["in/mask"].astype(bool)
    modalities = x.shape[1]
    width = case["param/linear.bias"].size
    # The concatenation is what the linear layer reads: with W = I it is the output.
    size = modalities * x.shape[2]
    eye = ConcatLinear(modalities, x.shape[2], out_dim=size, rngs=nnx.Rngs(0))
    assign(eye, {"linear.kernel": np.eye(size), "linear.bias": np.zeros(size)})
    yield "concat", eye(x, mask).out, case["out/concat"]
    linear_ = ConcatLinear(modalities, x.shape[2], out_dim=width, rngs=nnx.Rngs(0))
    assign(linear_, linear("linear", case, "param/linear.kernel", "param/linear.bias", transpose=False))
    yield "concat_linear", linear_(x, mask).out, case["out/concat_linear"]
    hidden, width = case["param/mlp1.kernel"].shape
    mlp = ConcatMlp(modalities, x.shape[2], hidden=hidden, out_dim=width, rngs=nnx.Rngs(0))
    assign(
        mlp,
        {
            "mlp.fc1.kernel": case["param/mlp0.kernel"],
            "mlp.fc1.bias": case["param/mlp0.bias"],
            "mlp.fc2.kernel": case["param/mlp1.kernel"],
            "mlp.fc2.bias": case["param/mlp1.bias"],
        },
    )
    yield "concat_mlp", mlp(x, mask).out, case["out/concat_mlp_relu"]
