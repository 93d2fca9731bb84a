"""UFC: features of two modalities and the cost between their parts, refined together by transformers.

Reference: Hong et al., "Unifying Feature and Cost Aggregation with Transformers for Semantic and Visual
Correspondence", ICLR 2024, arXiv 2403.11120; code of the first author's cvlab-kaist/CoPoNeRF at 7a1b994
(`models/aggregation.py`, `models/conv4d.py`). Golden `ufc`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.arrays import refuse
from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.fusion.ufc.layer import Conv4d, UFCLayer, both
from fusion_jax.fusion.ufc.plane import TAPS, Plane
from fusion_jax.nn.init import masked_mean
from fusion_jax.records import Array, Attention, Fused, Info
from fusion_jax.structures.base import Structure

MOST_PARTS = 64  # a cost is P^2 numbers a head and pair, and a convolution over it takes P^3


class UFC(Fusion):
    """tokens_m = mean over partners o of the features of m, refined together with their cost to those of o.

    An ordered pair of modalities stands for a pair of images; nodes are their pixels, P parts of a balanced partition
    the coarse grid of the cost. c(a, b) = <a / (|a| + 1e-5), b / (|b| + 1e-5)> of part means. conv reads, over the
    parts of a and over those of b, the part and the mean over its neighbours; E = relu(group_norm(conv)). The cost
    begins as C = conv(c(F_a, F_b)), [H, P, P], and each layer does:

        A  on (C, F_a) and (C^T, F_b) alike: q, k = W [C_part(n); LN F_n] + p_part(n), phi = elu + 1,
           w_nj = phi(q_n) . phi(k_j) / (phi(q_n) . sum_j phi(k_j) + 1e-6),
           F += sum_j w_nj W_v LN F_j, F += MLP(LN F);  C += mean_{n in part} sum_j w_nj E(C)_part(j), C += E(E(C))
        B  C = C_a + C_b^T, C += E(c(F_a, F_b)), C += E(E(C))
        C  F_a += sum_q softmax_q(C) W_c LN mean_{n in q} F_b, to all nodes of a part; F_a += MLP'(LN F_a); F_b alike
        D  C += E(c(F_a, F_b)), C += E(E(C)), for the next layer

    The MLPs have a weight a channel for the node and one for the mean over its neighbours between their two linear
    maps. All pairs share their weights. `out` is the mean of the tokens that are there; with M = 1 there is no pair,
    and it is x.

    A node without a modality is no key, in no part's mean and nobody's neighbour in it, and a part without any such
    node is not seen; partners of a token are the other modalities of its node, and a token without one stays as it is.
    Attentions are those of step C in the last layer, "source" [pair, G, H, P, P] to the target's parts and "target"
    back, pairs in the order (0, 1), (0, 2), ..., (1, 0), ...

    One resolution: the paper's finer levels, and its soft-argmax to a flow, are of images.

    Args:
        parts: P of each graph, at most 64 (16^2 in the paper, over images).
        heads: H, divides D.
        layers: 2 (the coarsest level's).
        expand: hidden width of the MLPs over the width D.
        cost_expand: that of E(E(C)) over H.
        refine: whether there is step D. The last layer has none, as nothing reads it.
    Raises:
        ValueError: heads do not divide D; an option that is no number in its range.
    """

    info = Info(
        "Hong et al., Unifying Feature and Cost Aggregation with Transformers for Semantic and Visual Correspondence",
        2024,
        pinned="authors' code",
        golden="ufc",
        cost="O(M^2 (E D + N D^2 + P^3 H^2))",
        needs=("graph",),
    )
    placements = ("before", "after", "interleaved", "decision")
    symmetries = ("nodes", "modalities")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        parts: int = 16,
        heads: int = 8,
        layers: int = 2,
        expand: float = 4.0,
        cost_expand: int = 4,
        refine: bool = True,
        rngs: nnx.Rngs,
    ):
        _check(dim, parts=parts, heads=heads, layers=layers, expand=expand, cost_expand=cost_expand, refine=refine)
        self.pairs = tuple((a, b) for a in range(modalities) for b in range(modalities) if a != b)
        self.structures = tuple(Structure(name, {"parts": parts}) for name in ("partition", "quotient"))
        self.corr = Conv4d(1, heads, TAPS, rngs=rngs)
        self.layers = nnx.List(
            [
                UFCLayer(
                    dim,
                    heads,
                    parts,
                    parts,
                    TAPS,
                    expand=expand,
                    cost_expand=cost_expand,
                    refine=refine and i < layers - 1,
                    rngs=rngs,
                )
                for i in range(layers)
            ]
        )

    def pair(self, a: Array, b: Array, source: Plane, target: Plane) -> tuple[Array, Array, Array, tuple]:
        """Features a, b [N, D] of two modalities -> refined; the last cost; the attentions of the last layer."""
        cost = jnp.where(both(source, target), source.similarity(target, self.corr, a, b), 0)
        weights = ()
        for layer in self.layers:
            cost, a, b, weights = layer(cost, a, b, source, target)
        return a, b, cost, weights

    def nodes(self, x, mask, graph, context):
        del context
        if not self.pairs:
            return Fused(x[:, 0], tokens=x)
        structures = tuple(graph.structure(s) for s in self.structures)

        def one(a, b, has_a, has_b):
            source, target = (Plane.of(has, graph, *structures) for has in (has_a, has_b))
            a, b, _, weights = self.pair(a, b, source, target)
            return a, b, weights, (source.there, target.there)

        ends = [jnp.asarray(m) for m in zip(*self.pairs, strict=True)]
        first, second = (jax.nn.one_hot(m, x.shape[1], dtype=x.dtype) for m in ends)
        chosen = tuple(jnp.einsum("pm,nmd->pnd", which, x) for which in (first, second))  # a copy without a scatter
        has = tuple(mask.T[m] for m in ends)
        a, b, weights, there = jax.vmap(one)(*chosen, *has)
        together = (has[0] & has[1])[..., None]
        total = sum(
            jnp.einsum("pm,pnd->nmd", which, jnp.where(together, y, 0)) for which, y in ((first, a), (second, b))
        )
        partners = 2 * (mask.sum(1, keepdims=True) - 1)[..., None]  # each pair in both orders
        tokens = jnp.where(mask[..., None] & (partners > 0), total / jnp.maximum(partners, 1).astype(x.dtype), x)
        return Fused(masked_mean(tokens, mask), tokens=tokens, attention=_attention(weights, there))


def _check(dim: int, **options) -> None:
    for name in ("parts", "heads", "layers", "cost_expand"):
        value, most = options[name], MOST_PARTS if name == "parts" else None
        if type(value) is not int or value < 1 or (most and value > most):
            refuse("fusion 'ufc'", f"{name}={value!r}", f"an integer >= 1{f' and <= {most}' if most else ''}")
    check_heads("ufc", dim, options["heads"])
    expand, refine = options["expand"], options["refine"]
    if isinstance(expand, bool) or not isinstance(expand, int | float) or not 1 <= expand < float("inf"):
        refuse("fusion 'ufc'", f"expand={expand!r}", "a number >= 1")
    if not isinstance(refine, bool):
        refuse("fusion 'ufc'", f"refine={refine!r}", "True or False")


def _attention(weights: tuple[Array, Array], there: tuple[Array, Array]) -> tuple[Attention, ...]:
    """Step C's weights [pair, G, H, P, Q]; a part that is empty sees and is seen by nobody."""
    source, target = there
    valid = (source[..., :, None] & target[..., None, :])[:, :, None]
    axes = ("pair", "graph", "head", "part", "part")
    shown = (("source", weights[0], valid), ("target", weights[1], valid.swapaxes(-2, -1)))
    return tuple(Attention(name, jnp.where(seen, w, 0), axes, "part", "part", valid=seen) for name, w, seen in shown)
