"""ST-Align: tokenisers, the fusion of two modalities, the niche's transformer, the loss of three targets."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.st_align.blocks import ABFN, Tokeniser, Transformer
from fusion_jax.fusion.st_align.contrast import info_nce, three_targets
from tests.helpers import assign
from tests.torch_names import torch_linear, torch_norm


def abfn(case):
    tokens = jnp.stack([jnp.asarray(case[f"{name}_tokens"]) for name in ("img", "gene")], axis=1)
    batch, count, length, dim = tokens.shape
    heads = case["attn_img_to_gene"].shape[1]
    inner = len(case["param/cross_attn_x.to_q.weight"])
    fusion, values = ABFN(count, dim, heads, inner // heads, rate=0.0, rngs=nnx.Rngs(0)), {}
    for m, (cross, ffn) in enumerate((("cross_attn_x", "ffn_one"), ("cross_attn_y", "ffn_two"))):
        for part, name in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("out", "to_out.0")):
            values |= torch_linear(f"cross_attn.{m}.attention.{part}", case, f"param/{cross}.{name}")
        for norm in ("norm_q", "norm_kv"):
            values |= torch_norm(f"cross_attn.{m}.{norm}", case, f"param/{cross}.{norm}")
        values |= torch_linear(f"ffn.{m}.fc1", case, f"param/{ffn}.0")
        values |= torch_linear(f"ffn.{m}.fc2", case, f"param/{ffn}.2")
    assign(fusion, values | torch_norm("ln_fuse", case, "param/ln_fuse"))
    out, features, weights = fusion(tokens, jnp.ones((batch, count), bool))
    yield "feature_one", features[:, 0], case["feature_one"]
    yield "feature_two", features[:, 1], case["feature_two"]
    yield "attn_img_to_gene", weights[:, 0, ..., length:], case["attn_img_to_gene"]
    yield "attn_gene_to_img", weights[:, 1, ..., :length], case["attn_gene_to_img"]
    yield "out", out, case["out"]


def tokenisers(case):
    made = (("ConvUNI", "niche"), ("ConvImgLocal", "spot_img"), ("LocalGenePath", "spot_gene"))
    for name, tokens in made:
        weight = case[f"param/{name}.conv1.weight"][:, 0]
        tokenise = Tokeniser(*weight.shape, rngs=nnx.Rngs(0))
        assign(tokenise, {"weight": weight, "bias": case[f"param/{name}.conv1.bias"]})
        vector = case["niche_vec" if tokens == "niche" else "spot_img_vec"]  # the gene one is shown the image's
        yield f"{tokens}_tokens", tokenise(jnp.asarray(vector)), case[f"{tokens}_tokens"]


def niche_gene_transformer(case):
    x, heads, head_dim = jnp.asarray(case["x"]), int(case["heads"]), int(case["dim_head"])
    depth = len({name.split(".")[1] for name in case if name.startswith("param/layers.")})
    hidden = len(case["param/layers.0.1.fn.net.0.weight"])
    net = Transformer(x.shape[-1], depth, heads, head_dim, hidden, rngs=nnx.Rngs(0))
    values = {}
    for i in range(depth):
        attend, forward = f"param/layers.{i}.0", f"param/layers.{i}.1"
        parts = np.split(case[f"{attend}.fn.to_qkv.weight"], 3)
        values |= {f"attention.{i}.{p}.kernel": w.T for p, w in zip(("query", "key", "value"), parts, strict=True)}
        if f"{attend}.fn.to_out.0.weight" in case:
            values |= torch_linear(f"attention.{i}.out", case, f"{attend}.fn.to_out.0")
        else:  # one head as wide as the tokens has no map behind it there
            width = x.shape[-1]
            values |= {f"attention.{i}.out.kernel": np.eye(width), f"attention.{i}.out.bias": np.zeros(width)}
        values |= torch_norm(f"norm1.{i}", case, f"{attend}.norm") | torch_norm(f"norm2.{i}", case, f"{forward}.norm")
        values |= torch_linear(f"net.{i}.fc1", case, f"{forward}.fn.net.0")
        values |= torch_linear(f"net.{i}.fc2", case, f"{forward}.fn.net.3")
    yield "out", assign(net, values)(x), case["out"]


def three_target_loss(case):
    alpha, beta, temperature = (float(case[name]) for name in ("alpha", "beta", "temperature"))

    def term(query, positive):
        three = (jnp.asarray(case[name]) for name in (query, positive, f"neg_{positive}"))
        return info_nce(*three, temperature=temperature).mean()

    spot, niche = term("spot_img", "spot_gene"), term("niche_img", "niche_gene")
    cross = term("spot_fused", "niche_fused")
    yield "loss_spot", spot, case["loss_spot"]
    yield "loss_niche", niche, case["loss_niche"]
    yield "loss_cross", cross, case["loss_cross"]
    terms = three_targets(spot, niche, cross, alpha=alpha, beta=beta)
    yield "loss", sum(terms.values(), jnp.zeros(())), case["loss"]
