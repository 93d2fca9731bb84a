"""CSA re-ranking: affinities of lists, the transformer over them, and both losses, without dropout.

Items of a list are nodes of one modality; its anchors are its first items, and all items are labelled.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.csa_rerank import CSARerank
from fusion_jax.fusion.csa_rerank.lists import Lists, affinity
from fusion_jax.fusion.csa_rerank.reranker import contrastive, similarities, strengths
from tests.helpers import assign, linear
from tests.torch_names import torch_linear, torch_norm


def values(case, blocks):
    found = torch_linear("topk_proj", case, "topk_proj") | torch_linear("feature_align", case, "feature_align.layers.0")
    for i in range(blocks):
        at = f"blocks.{i}"
        for name in ("norm1", "norm2"):
            found |= torch_norm(f"{at}.{name}", case, f"{at}.{name}")
        for name in ("fc1", "fc2"):
            found |= torch_linear(f"{at}.{name}", case, f"{at}.mlp.{name}")
        found |= torch_linear(f"{at}.attn.out", case, f"{at}.attn.proj")
        split = {"weight": np.split(case[f"{at}.attn.qkv.weight"], 3)}
        if f"{at}.attn.qkv.bias" in case:
            split["bias"] = np.split(case[f"{at}.attn.qkv.bias"], 3)
        else:  # without it is with 0
            split["bias"] = [np.zeros(len(part)) for part in split["weight"]]
        for j, name in enumerate(("query", "key", "value")):
            part = {k: v[j] for k, v in split.items()}
            found |= linear(f"{at}.attn.{name}", part, "weight", "bias")
    return {f"reranker.{path}": value for path, value in found.items()}


def rerank(case):
    features = case["features"]
    lists, length, dim = features.shape
    width, anchors = case["topk_proj.weight"].shape
    blocks = len({name.split(".")[1] for name in case if name.startswith("blocks.")})
    options = dict(
        anchors=anchors,
        width=width,
        heads=int(case["heads"]),
        blocks=blocks,
        ratio=case["blocks.0.mlp.fc1.bias"].size / width if blocks else 1.0,
    )
    (total,) = (name for name in case if name.startswith("total_alpha"))
    alpha = float(total.removeprefix("total_alpha").replace("p", "."))
    ours = CSARerank(1, dim, outputs=2, alpha=alpha, **options, rngs=nnx.Rngs(0))
    assign(ours, values(case, blocks), partial=True)
    rows = np.arange(lists * length).reshape(lists, length)
    there = np.ones((lists, length), bool)
    items, first = Lists(rows, there), Lists(rows[:, :anchors], there[:, :anchors])
    u, mask = jnp.asarray(features.reshape(-1, 1, dim)), jnp.ones((rows.size, 1), bool)
    s = affinity(u, mask, items, first)
    yield "affinity", s, case["affinity"]
    z, _ = ours.reranker(s, there)
    similarity = similarities(z)
    yield "exp_sim", strengths(similarity), case["exp_sim"]
    yield "rerank_sim", similarity[:, 1:], case["rerank_sim"]
    yield "mse_loss", ours.reranker.reconstruction(s, z).mean(), case["mse_loss"]
    same = jnp.asarray(case["relative"] > 0)
    yield "contrastive", contrastive(similarity, same, there).mean(), case["contrastive"]
    losses = ours.losses(s, z, similarity, there, same, there)
    yield total, sum(losses.values()), case[total]
