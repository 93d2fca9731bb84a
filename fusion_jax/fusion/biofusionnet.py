"""BioFusionNet: co-dual cross-attention of two modalities along edges, further modalities joined late.

Reference: Mondal et al., "BioFusionNet: Deep Learning-Based Survival Risk Stratification in ER+ Breast Cancer
Through Multifeature and Multimodal Data Fusion", 2024 (arXiv 2402.10717); code raktim-mondol/BioFusionNet at
59bc596 (`co_dual_cross_attention.py`, `multimodal_model.py`). Golden `biofusionnet/co_dual_cross_attention`;
its other parts are the encoders `patch_self_attention` and `vae` and the loss `cox`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.graphs import Graph
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.segment import edge_attend
from fusion_jax.nn.transformer import EncoderLayer
from fusion_jax.records import Array, Attention, Fused, Info

# PyTorch's default, U(+-1 / sqrt(fan-in)): wider kernels saturate the unscaled co-attention from the start.
INIT = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
# Whose keys each attention has: a co-attention and a cross-attention read the other stream, the last goes back.
KEYS = dict(co_img="gene", co_gene="img", cross_img="gene", cross_gene="img", refine_img="img", refine_gene="gene")


def attend(q: Array, k: Array, v: Array, graph: Graph, present: Array, scale: float) -> tuple[Array, Array]:
    """softmax(scale q k^T) v over the senders j with present[j]: q, k [N, I], v [N, e] -> [N, e], weights [E]."""
    wide = q.dtype if q.dtype.itemsize >= 4 else jnp.float32  # unscaled logits are large: no halves
    q, k = q.astype(wide)[:, None], k.astype(wide)[:, None]
    out, weights = edge_attend(q, k, v[:, None], graph, present[graph.senders], scale=scale)
    return out[:, 0], weights[:, 0]


class CoAttention(nnx.Module):
    """ci = softmax(Q_i img (K_g gene)^T) V_g gene; cg = softmax(Q_g gene (K_i img)^T) V_i img; neither scaled."""

    def __init__(self, img_dim: int, gene_dim: int, *, rngs: nnx.Rngs):
        def linear(d):
            return nnx.Linear(d, img_dim, use_bias=False, kernel_init=INIT, rngs=rngs)

        self.img_query, self.img_key, self.img_value = linear(img_dim), linear(img_dim), linear(img_dim)
        self.gene_query, self.gene_key, self.gene_value = linear(gene_dim), linear(gene_dim), linear(gene_dim)

    def __call__(self, img: Array, gene: Array, keys_img, keys_gene):
        """`keys_*` are (graph, present) of the modality that is key and value."""
        ci = attend(self.img_query(img), self.gene_key(gene), self.gene_value(gene), *keys_gene, 1.0)
        cg = attend(self.gene_query(gene), self.img_key(img), self.img_value(img), *keys_img, 1.0)
        return ci, cg


class EdgeAttention(nnx.Module):
    """softmax(q k^T / sqrt(I)) v over the senders, biased linears."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        def linear():
            return nnx.Linear(dim, dim, kernel_init=INIT, rngs=rngs)

        self.query, self.key, self.value = linear(), linear(), linear()

    def __call__(self, query: Array, keys: Array, graph: Graph, present: Array) -> tuple[Array, Array]:
        """query, keys [N, I] -> [N, I] and the weights [E]."""
        q, k, v = self.query(query), self.key(keys), self.value(keys)
        return attend(q, k, v, graph, present, 1 / math.sqrt(q.shape[-1]))


class DualCrossAttention(nnx.Module):
    """Two `EdgeAttention`s, one for the image stream and one for the gene stream.

    With `gene_dim` the keys of the gene stream are raw features of that width, brought to I first.
    """

    def __init__(self, dim: int, gene_dim: int | None = None, *, rngs: nnx.Rngs):
        self.attention1, self.attention2 = EdgeAttention(dim, rngs=rngs), EdgeAttention(dim, rngs=rngs)
        raw = gene_dim is not None
        self.adjust_gene_dim = nnx.Linear(gene_dim, dim, kernel_init=INIT, rngs=rngs) if raw else None

    def __call__(self, query1: Array, keys1: Array, where1, query2: Array, keys2: Array, where2):
        if self.adjust_gene_dim is not None:
            keys2 = self.adjust_gene_dim(keys2)
        return self.attention1(query1, keys1, *where1), self.attention2(query2, keys2, *where2)


class CoDualSteps(NamedTuple):
    """What `CoDualCrossAttention` computes, in order; [N, I] each, `out` [N, 2 I]."""

    coattended_img: Array
    coattended_gene: Array
    attended_img_to_gene: Array
    attended_gene_to_img: Array
    refined_img: Array
    refined_gene: Array
    out: Array
    weights: dict[str, Array]


class CoDualCrossAttention(nnx.Module):
    """Co-attention, dual cross-attention, dual cross-attention back to the raw features, and an encoder.

        ci, cg = CoAttention(img, gene)
        a1, a2 = Att1(q=ci, kv=cg), Att2(q=cg, kv=ci)
        r1, r2 = Att1'(q=a1, kv=img), Att2'(q=a2, kv=W gene + b)
        out = Encoder([r1; r2])

    The encoder's sequence has length 1 (the code's unsqueeze puts the patients on the batch axis), so that of
    its self-attention only the value path has an effect: its queries and keys never get a gradient.

    Args:
        img_dim: I, width of the image features and of everything inside.
        gene_dim: width of the gene features.
        heads: of the encoder, divides 2 I; they only group the attention dropout.
        layers: of the encoder.
        hidden: width of its feed-forward step.
        rate: its dropout.
    """

    def __init__(
        self, img_dim: int, gene_dim: int, *, heads: int, layers: int, hidden: int, rate: float, rngs: nnx.Rngs
    ):
        self.co_attention = CoAttention(img_dim, gene_dim, rngs=rngs)
        self.dual_cross_attention = DualCrossAttention(img_dim, rngs=rngs)
        self.dual_cross_attention2 = DualCrossAttention(img_dim, gene_dim, rngs=rngs)
        self.encoder = nnx.List([EncoderLayer(2 * img_dim, heads, hidden, rate=rate, rngs=rngs) for _ in range(layers)])

    def steps(self, img: Array, gene: Array, keys_img, keys_gene, *, key: Array | None = None) -> CoDualSteps:
        """img [N, I], gene [N, G]; `keys_*` = (graph, present bool [N]) say who is seen as a key of each stream."""
        (ci, w1), (cg, w2) = self.co_attention(img, gene, keys_img, keys_gene)
        (a1, w3), (a2, w4) = self.dual_cross_attention(ci, cg, keys_gene, cg, ci, keys_img)
        # the second round goes back to the raw features, as in the code, not to ci and cg
        (r1, w5), (r2, w6) = self.dual_cross_attention2(a1, img, keys_img, a2, gene, keys_gene)
        x = jnp.concatenate([r1, r2], -1)[:, None]  # [N, 1, 2 I]
        for layer, k in zip(self.encoder, split_key(key, len(self.encoder)), strict=True):
            x = layer(x, key=k)
        weights = dict(co_img=w1, co_gene=w2, cross_img=w3, cross_gene=w4, refine_img=w5, refine_gene=w6)
        return CoDualSteps(ci, cg, a1, a2, r1, r2, x[:, 0], weights)


class Block(nnx.Module):
    """dropout(relu(LayerNorm(W x + b)))."""

    def __init__(self, in_dim: int, out_dim: int, rate: float, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(in_dim, out_dim, kernel_init=INIT, rngs=rngs)
        self.norm = layer_norm(out_dim, rngs=rngs)
        self.rate = rate

    def __call__(self, x: Array, *, key: Array | None = None) -> Array:
        return dropout(jax.nn.relu(self.norm(self.linear(x))), self.rate, key)


class BioFusionNet(Fusion):
    """out = B4([B3(B2(B1(CoDual(x_0, x_1)))); x_2; ...; x_(M-1)]), B a linear map, layer norm, relu, dropout.

    Modality 0 takes the place of the image features and 1 that of the genes; the others join late, like the
    paper's clinical values. With M = 1 the second is a modality nobody has. The rows the code attends over are
    the patients of a batch; here node i's queries see its senders and itself: a complete graph gives the code
    on a batch, no edges the code as its training script runs it, one patient at a time (every weight is 1 and
    neither queries nor keys get a gradient). The keys of modality m run along `graph.view(m)`.

    A sender without a modality is no key of its stream; a node that sees no key gets 0 there.

    Widths are 2 D, D, D / 2 and D behind B1 ... B4 (the paper: 512, 256, 128 and 32 at I = 256); its last linear
    map to one risk is the model's head. `tokens` are (r1, r2) in the place of modalities 0 and 1 and the others
    as they came. Attentions of [E'] lie on the edges of `graph.view(1).looped` for "co_img", "cross_img" and
    "refine_gene" and of `graph.view(0).looped` for "co_gene", "cross_gene" and "refine_img".

    Args:
        heads: of the encoder, divides 2 D.
        layers: of the encoder.
        hidden: width of its feed-forward step, 2 D if None.
        rate: dropout in the encoder, B1 and B2.
        late_rate: dropout in B3 and B4.
    Raises:
        ValueError: heads do not divide 2 D.
    """

    info = Info(
        "Mondal et al., BioFusionNet: Survival Risk Stratification in ER+ Breast Cancer Through Multifeature and "
        "Multimodal Data Fusion",
        2024,
        pinned="authors' code",
        golden="biofusionnet",
        cost="O(E D + N (M + 1) D^2)",
        needs=("graph",),
    )
    placements = ("before", "after", "interleaved")  # a layer norm over the few outputs of a decision says little

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        heads: int = 8,
        layers: int = 3,
        hidden: int | None = None,
        rate: float = 0.1,
        late_rate: float = 0.01,
        rngs: nnx.Rngs,
    ):
        check_heads("biofusionnet", 2 * dim, heads)
        hidden = 2 * dim if hidden is None else hidden
        self.comodel = CoDualCrossAttention(dim, dim, heads=heads, layers=layers, hidden=hidden, rate=rate, rngs=rngs)
        self.modalities, half = modalities, max(dim // 2, 1)
        self.fc1 = Block(2 * dim, 2 * dim, rate, rngs=rngs)
        self.fc2 = Block(2 * dim, dim, rate, rngs=rngs)
        self.fc3 = Block(dim, half, late_rate, rngs=rngs)
        self.fc4 = Block(half + max(modalities - 2, 0) * dim, dim, late_rate, rngs=rngs)

    def nodes(self, x, mask, graph, context):
        x = jnp.where(mask[..., None], x, 0)
        if self.modalities == 1:  # a second one that nobody has
            x, mask = jnp.pad(x, ((0, 0), (0, 1), (0, 0))), jnp.pad(mask, ((0, 0), (0, 1)))
        views = graph.view(0).looped, graph.view(min(1, self.modalities - 1)).looped
        inner, *keys = split_key(context.key, 5)
        keys_img, keys_gene = ((view, mask[:, m]) for m, view in enumerate(views))
        steps = self.comodel.steps(x[:, 0], x[:, 1], keys_img, keys_gene, key=inner)
        h = steps.out
        for block, k in zip((self.fc1, self.fc2, self.fc3), keys[:3], strict=True):
            h = block(h, key=k)
        late = x[:, 2:].reshape(x.shape[0], -1)
        out = self.fc4(jnp.concatenate([h, late], -1), key=keys[3])
        tokens = jnp.concatenate([jnp.stack([steps.refined_img, steps.refined_gene], 1), x[:, 2:]], 1)
        along = dict(zip(("img", "gene"), (keys_img, keys_gene), strict=True))
        attention = []
        for name, weights in steps.weights.items():
            view, present = along[KEYS[name]]
            ends = view.senders, view.receivers
            attention.append(Attention(name, weights, ("edge",), "node", "node", *ends, valid=present[view.senders]))
        return Fused(out, tokens[:, : self.modalities], tuple(attention))
