"""A few learned latents read the modalities once, attend to each other, and a learned query reads them out.

Reference: Jaegle et al., "Perceiver IO: A General Architecture for Structured Inputs & Outputs", 2021 (arXiv
2107.14795), google-deepmind/deepmind-research, folder perceiver, f5de0ede; golden `perceiver-io`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.dropout import split_key
from fusion_jax.nn.init import masked_mean, normal
from fusion_jax.nn.perceiver import ACTIVATIONS, CrossAttention, SelfAttention
from fusion_jax.records import Array, Attention, Fused, Info


def _table(rngs: nnx.Rngs, rows: int, width: int) -> nnx.Param:
    return nnx.Param(0.02 * jax.random.truncated_normal(rngs.params(), -2, 2, (rows, width), jnp.float32))


class Encoder(nnx.Module):
    """z = CrossAttention(z0, x), then the same stack of self-attentions `blocks` times over.

    Args:
        input_dim: C, width of the input tokens.
        latents, latent_dim: L and Z, the shape of the learned z0.
        self_attends: self-attentions in the stack.
        blocks: how often the stack is applied, with the same weights.
        cross_heads, heads: heads of the cross-attention (divide its width) and of the others (divide Z).
        cross_widening, widening: hidden widths of their MLPs, in units of Z.
        activation: of the MLPs.
        rate: dropout in the self-attentions.
    """

    def __init__(
        self,
        input_dim: int,
        latents: int,
        latent_dim: int,
        *,
        self_attends: int,
        blocks: int,
        cross_heads: int,
        heads: int,
        cross_widening: int,
        widening: int,
        activation,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        self.latents = _table(rngs, latents, latent_dim)
        self.cross = CrossAttention(
            latent_dim, input_dim, cross_heads, widening=cross_widening, activation=activation, rngs=rngs
        )
        self.stack = nnx.List(
            [
                SelfAttention(latent_dim, heads, widening=widening, activation=activation, rate=rate, rngs=rngs)
                for _ in range(self_attends)
            ]
        )
        self.blocks = blocks

    def read(self, x: Array, mask: Array | None = None) -> tuple[Array, Array]:
        """The cross-attention: x [..., K, C], mask bool [..., K] -> z [..., L, Z], weights [..., H, L, K]."""
        return self.cross(self.latents[...], x, mask)

    def process(self, z: Array, *, key: Array | None = None) -> Array:
        """The latent self-attentions: [..., L, Z] -> [..., L, Z]."""
        for block_key in split_key(key, self.blocks):
            keys = split_key(block_key, len(self.stack))
            for layer, k in zip(self.stack, keys, strict=True):
                z = layer(z, key=k)
        return z


class Decoder(nnx.Module):
    """y = W_o CrossAttention(queries, z) + b_o, with O learned queries.

    Args:
        latent_dim: Z, width of z.
        queries, query_dim: O and Q, the shape of the learned queries.
        out_dim: width of y.
        heads: of the cross-attention; divide Z.
        residual: whether the query is added to what it read.
        activation: of the MLP.
    """

    def __init__(
        self,
        latent_dim: int,
        queries: int,
        query_dim: int,
        out_dim: int,
        *,
        heads: int = 1,
        residual: bool = False,
        activation=jax.nn.gelu,
        rngs: nnx.Rngs,
    ):
        self.queries = _table(rngs, queries, query_dim)
        self.cross = CrossAttention(query_dim, latent_dim, heads, residual=residual, activation=activation, rngs=rngs)
        self.output = nnx.Linear(query_dim, out_dim, rngs=rngs)

    def __call__(self, z: Array, extra: Array | float = 0.0) -> Array:
        """z [..., L, Z]; `extra` [Q] is added to the queries -> [..., O, out_dim]."""
        return self.output(self.cross(self.queries[...] + extra, z)[0])


class PerceiverIo(Fusion):
    """z = CrossAttention(z0, t); z = SelfAttentions(z); out = W_o CrossAttention(query, z) + b_o.

    The tokens t_m = [W x_m + b; c_m] carry a learned code of their modality (the paper pads each modality to
    a common width with a learned vector). With M tokens, L >= M latents compress nothing.
    A node without modalities has z = z0 + the attention's output bias before the MLP.

    Args:
        latents: L.
        latent_dim: Z, D if None (the paper: 1024).
        code_dim: P, width of the modality code; 0 for none.
        self_attends, blocks: a stack of so many self-attentions, applied so often with shared weights (the
            paper: 6 and 8).
        cross_heads: heads of the encoder's cross-attention; divide D + P, its width.
        heads: heads of the self-attentions (the paper: 8); divide Z.
        decoder_heads: heads of the decoder's cross-attention; divide Z.
        cross_widening, widening: hidden widths of the encoder's MLPs in units of Z.
        query_dim: Q, width of the output query; D if None.
        query_residual: whether the output query is added to what it read.
        node_query: adds a linear map of the mean present modality to the output query.
        out_dim: width of `out`, D if None.
        activation: "gelu" (tanh approximation), or "squared_relu" as in the second official version.
        rate: dropout in the self-attentions.

    Attention "read" [N, H, L, M] is the encoder's cross-attention, 0 on missing modalities.

    Raises:
        ValueError: heads do not divide their width, or an unknown activation.
    """

    info = Info(
        "Jaegle et al., Perceiver IO",
        2021,
        pinned="authors' code",
        golden="perceiver-io",
        cost="O(N (L M + L^2) Z + N L Z^2)",
    )
    placements = ("before", "after")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        latents: int = 4,
        latent_dim: int | None = None,
        code_dim: int = 8,
        self_attends: int = 2,
        blocks: int = 2,
        cross_heads: int = 1,
        heads: int = 4,
        decoder_heads: int = 1,
        cross_widening: int = 1,
        widening: int = 1,
        query_dim: int | None = None,
        query_residual: bool = False,
        node_query: bool = False,
        out_dim: int | None = None,
        activation: str = "gelu",
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        if activation not in ACTIVATIONS:
            known = sorted(ACTIVATIONS)
            raise ValueError(f"fusion 'perceiver_io': activation {activation!r} is none of {known}")
        f = ACTIVATIONS[activation]
        latent_dim = dim if latent_dim is None else latent_dim
        query_dim = dim if query_dim is None else query_dim
        check_heads("perceiver_io", latent_dim, heads)
        check_heads("perceiver_io", latent_dim, decoder_heads)
        check_heads("perceiver_io", dim + code_dim, cross_heads)
        self.embed = nnx.Linear(dim, dim, rngs=rngs)
        self.codes = normal(rngs, (modalities, code_dim))
        self.encoder = Encoder(
            dim + code_dim,
            latents,
            latent_dim,
            self_attends=self_attends,
            blocks=blocks,
            cross_heads=cross_heads,
            heads=heads,
            cross_widening=cross_widening,
            widening=widening,
            activation=f,
            rate=rate,
            rngs=rngs,
        )
        self.decoder = Decoder(
            latent_dim,
            1,
            query_dim,
            dim if out_dim is None else out_dim,
            heads=decoder_heads,
            residual=query_residual,
            activation=f,
            rngs=rngs,
        )
        self.from_node = nnx.Linear(dim, query_dim, rngs=rngs) if node_query else None

    def node(self, x, mask, context):
        z, weights = self.encoder.read(self.tokens(x), mask)
        z = self.encoder.process(z, key=context.key)
        extra = self.from_node(masked_mean(x, mask)) if self.from_node is not None else 0.0
        read = Attention("read", weights, ("head", "latent", "modality"), "latent", "modality", valid=mask[None, None])
        return Fused(self.decoder(z, extra)[0], attention=(read,))

    def tokens(self, x: Array) -> Array:
        """[..., M, D] -> [..., M, D + P], the modality code appended."""
        codes = jnp.broadcast_to(self.codes[...], (*x.shape[:-1], self.codes.shape[-1]))
        return jnp.concatenate([self.embed(x), codes], axis=-1)
