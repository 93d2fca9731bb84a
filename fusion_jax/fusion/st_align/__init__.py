"""Bidirectional cross-attention between modalities, aligned with each other and with a node's neighbourhood.

Reference: "ST-Align: A Multimodal Foundation Model for Image-Gene Alignment in Spatial Transcriptomics", 2024
(arXiv 2411.16793); code dumbgoos/ST-Align at 738da0b (`stalign.py`, `pretrain.py`, `find_negtive_index.py`). Golden
`st-align`.
"""

from __future__ import annotations

import dataclasses
import functools

import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.fusion.st_align.blocks import ABFN, Tokeniser, Transformer, keys_of
from fusion_jax.fusion.st_align.contrast import draw, info_nce, rows_of, three_targets
from fusion_jax.graphs import Graph
from fusion_jax.losses.base import weighted_mean
from fusion_jax.nn.dropout import split_key
from fusion_jax.nn.mlp import MLP
from fusion_jax.nn.neighbour_mean import neighbour_mean
from fusion_jax.nn.presence import reached
from fusion_jax.records import Array, Attention, Fused, Info, Tokens
from fusion_jax.structures.base import Structure


class NicheEncoder(nnx.Module):
    """Tokens [N, T, D] of a niche vector z [N, D] of one modality.

    Without depth the tokeniser of an MLP, D to D to kernel D; with it T vectors of width D that an MLP makes, D to D
    to T D, through a `Transformer`, and an MLP of each token, D to D / 2 to D.
    """

    def __init__(
        self, dim: int, tokens: int, kernel: int, depth: int, heads: int, head_dim: int, *, rate: float, rngs: nnx.Rngs
    ):
        self.depth, self.tokens = depth, tokens
        self.mlp = MLP(dim, dim, (tokens if depth else kernel) * dim, rngs=rngs)
        self.tokeniser = None if depth else Tokeniser(tokens, kernel, rngs=rngs)
        self.transformer = Transformer(dim, depth, heads, head_dim, 2 * dim, rate=rate, rngs=rngs) if depth else None
        self.last = MLP(dim, max(1, dim // 2), dim, rngs=rngs) if depth else None

    def __call__(self, z: Array, *, key: Array | None = None) -> Array:
        z = self.mlp(z)
        if not self.depth:
            return self.tokeniser(z)
        return self.last(self.transformer(z.reshape(len(z), self.tokens, -1), key=key))


class STAlign(Fusion):
    """out = mean_t ABFN(tokens of the modalities)_t, tokens_mt = a_mt x_m + b_mt (`blocks.ABFN`, `blocks.Tokeniser`).

    Trained with alpha L(x_0, x_m) + beta L(z_0, z_m) + (1 - alpha - beta) L(fused x, fused z) added to the loss of the
    task, where z_m, the niche, is the mean of modality m over a node and its senders in the shared edge set (those that
    have it), encoded, made tokens and fused by weights of its own. L is `contrast.info_nce` of the tokens, flattened
    and through an MLP of its own for each of the vectors, averaged over the nodes that have both and over the pairs
    (0, m); the negatives of a node are one node of every other part of a balanced partition of its graph. They are
    drawn anew in every step inside the compiled program, as its key is there (the code draws them on the host).

    `out` sees no neighbour: the niche trains the tokens and is not in it. The released code stops with an error at the
    niche vectors, which it does not flatten: their MLPs are ours. States: "niche" z [N, M, D]; "embedding" [N, 2, 2 D],
    of the node and of its niche. Attention "spot" [N, M, H, T, M T] is that of the queries of each modality.

    Args:
        tokens: T of a vector.
        heads, head_dim: of the cross-attentions, whatever D is.
        niche_kernel: of the niche tokeniser: 2 reads pairs of a vector of width 2 D (its image), 1 single numbers.
        niche_depth: layers of a transformer in place of the niche tokeniser; 0 for none. The code has 6 for the genes.
        alignment: factor of the three terms; with 0 there is no niche, and no graph is needed.
        alpha, beta: shares of the terms between the modalities of nodes and of niches.
        temperature: divides the cosines.
        parts: K + 1, in each graph.
        rate: dropout behind each attention, and in the transformer.
    Raises:
        ValueError: a value that is none of these; `niche_kernel` beside `niche_depth`.
    """

    info = Info(
        "ST-Align: A Multimodal Foundation Model for Image-Gene Alignment in Spatial Transcriptomics",
        2024,
        pinned="authors' code",
        golden="st-align",
        cost="O(N M^2 T^2 H d + N M^2 T D H d + M E D)",
        needs=("graph",),
    )
    placements = ("before", "after")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        tokens: int = 8,
        heads: int = 8,
        head_dim: int = 64,
        niche_kernel: int = 2,
        niche_depth: int = 0,
        alignment: float = 1.0,
        alpha: float = 0.3,
        beta: float = 0.3,
        temperature: float = 0.1,
        parts: int = 6,
        rate: float = 0.1,
        rngs: nnx.Rngs,
    ):
        for name, value in dict(tokens=tokens, heads=heads, head_dim=head_dim, parts=parts).items():
            _expect(value >= 1, f"{name}={value!r}", "an integer >= 1")
        _expect(alignment >= 0, f"alignment={alignment!r}", "a number >= 0")
        _expect(
            min(alpha, beta) >= 0 and alpha + beta <= 1, f"alpha={alpha}, beta={beta}", "shares, at most 1 together"
        )
        _expect(temperature > 0, f"temperature={temperature!r}", "a number > 0")
        _expect(niche_kernel in (1, 2), f"niche_kernel={niche_kernel!r}", "1 or 2")
        _expect(niche_depth >= 0, f"niche_depth={niche_depth!r}", "an integer >= 0")
        _expect(not niche_depth or niche_kernel == 2, f"niche_kernel={niche_kernel!r}", "the default with niche_depth")
        _expect(dim >= modalities, f"D={dim} for M={modalities}", "a width of at least one feature a modality")
        self.tokenisers = nnx.List([Tokeniser(tokens, 1, rngs=rngs) for _ in range(modalities)])
        self.spot = ABFN(modalities, dim, heads, head_dim, rate=rate, rngs=rngs)
        self.alignment, self.alpha, self.beta = alignment, alpha, beta
        self.temperature, self.parts = temperature, parts
        self.needs = ("graph",) if alignment else ()
        self.structures = (Structure("partition", {"parts": parts}),) if alignment else ()
        if alignment:
            make = functools.partial(NicheEncoder, dim, tokens, niche_kernel, niche_depth, heads, head_dim, rate=rate)
            self.encoders = nnx.List([make(rngs=rngs) for _ in range(modalities)])
            self.niche = ABFN(modalities, dim, heads, head_dim, rate=rate, rngs=rngs)
            pairs = range(modalities if modalities > 1 else 0)
            head = functools.partial(MLP, tokens * dim, 4 * dim, 2 * dim, rngs=rngs)
            self.spot_heads = nnx.List([head() for _ in pairs] if alpha else [])
            self.niche_heads = nnx.List([head() for _ in pairs] if beta else [])
            self.fused_heads = nnx.List([head(), head()])

    def nodes(self, x, mask, graph, context):
        first, rest = split_key(context.key, 2)
        tokens = jnp.stack([tokenise(x[:, m]) for m, tokenise in enumerate(self.tokenisers)], axis=1)
        spot, _, weights = self.spot(tokens, mask, key=first)
        valid = jnp.repeat(keys_of(mask), tokens.shape[2], axis=-1)[:, :, None, None]
        axes = ("node", "modality", "head", "token", "token")
        fused = Fused(spot.mean(1), attention=(Attention("spot", weights, axes, "token", "token", valid=valid),))
        return self._aligned(fused, x, mask, tokens, spot, graph, rest) if self.alignment else fused

    def _aligned(
        self, fused: Fused, x: Array, mask: Array, tokens: Array, spot: Array, graph: Graph, key: Array | None
    ) -> Fused:
        """With the niche, and the losses that align it."""
        encode_key, fuse_key, draw_key = split_key(key, 3)
        z, there = neighbour_mean(x, graph.looped, mask), reached(mask, graph)
        keys = split_key(encode_key, len(self.encoders))
        encoded = [encode(z[:, m], key=k) for m, (encode, k) in enumerate(zip(self.encoders, keys, strict=True))]
        niche_tokens = jnp.stack(encoded, axis=1)
        niche, _, _ = self.niche(niche_tokens, there, key=fuse_key)
        ends = jnp.stack([head(_flat(t)) for head, t in zip(self.fused_heads, (spot, niche), strict=True)], axis=1)
        known = jnp.stack([mask.any(1), there.any(1)], axis=1)
        draws = split_key(draw_key, 3)
        level = self._between(ends[:, 0], ends[:, 1], known, graph, draws[0])
        terms = (
            self._across(self.spot_heads, tokens, mask, graph, draws[1]),
            self._across(self.niche_heads, niche_tokens, there, graph, draws[2]),
            level,
        )
        losses = three_targets(*(self.alignment * term for term in terms), alpha=self.alpha, beta=self.beta)
        states = Tokens("niche", z, there, "modality"), Tokens("embedding", ends, known, "level")
        return dataclasses.replace(fused, losses=losses, states=states)

    def _across(self, heads, tokens: Array, mask: Array, graph: Graph, key: Array | None) -> Array:
        """The mean of L over the pairs (0, m) of tokens [N, M, T, D] that a node has both of; 0 without any."""
        if not heads:
            return jnp.zeros((), tokens.dtype)
        vectors = [head(_flat(tokens[:, m])) for m, head in enumerate(heads)]
        keys = split_key(key, len(heads))
        found = [
            self._between(vectors[0], vectors[m], mask[:, jnp.array([0, m])], graph, keys[m])
            for m in range(1, len(heads))
        ]
        exists = jnp.stack([(mask[:, 0] & mask[:, m]).any() for m in range(1, len(heads))])
        return weighted_mean(jnp.stack(found), exists.astype(tokens.dtype))

    def _between(self, query: Array, positive: Array, has: Array, graph: Graph, key: Array | None) -> Array:
        """The mean of L over the nodes that have both; query, positive [N, W], has bool [N, 2]."""
        drawn = draw(graph.structure(self.structures[0]), self.parts, has[:, 1], key)
        negatives = rows_of(positive, drawn.rows)
        each = info_nce(query, positive, negatives, drawn.found, temperature=self.temperature)
        return weighted_mean(each, has.all(1).astype(each.dtype))


def _flat(tokens: Array) -> Array:
    return tokens.reshape(tokens.shape[0], -1)


def _expect(fits: bool, found: str, expected: str) -> None:
    if not fits:
        raise ValueError(f"fusion 'st_align': {found}; expected {expected}")
