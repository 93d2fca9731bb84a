"""Wayformer's scene encoders: where modalities meet, and along which axes tokens attend to each other.

A scene is a grid of tokens [..., T, S, D] with a mask [..., T, S], true where there is a token.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.nn.dropout import split_key
from fusion_jax.nn.init import normal, stack
from fusion_jax.nn.transformer import DecoderLayer
from fusion_jax.records import Array

ATTENTIONS = ("multi_axis", "sequential", "interleaved")


def layer_axes(attention: str, depth: int) -> tuple[str, ...]:
    """The axis each of `depth` layers attends along: "all", "temporal" (T) or "spatial" (S)."""
    if attention == "multi_axis":
        return ("all",) * depth
    if attention == "sequential":
        return ("temporal",) * (depth - depth // 2) + ("spatial",) * (depth // 2)
    return tuple(("temporal", "spatial")[i % 2] for i in range(depth))


def attend_along(axis: str, layer: DecoderLayer, z: Array, source: Array, mask: Array, key) -> Array:
    """One layer from the grid z to the grid `source` with `mask`, along one axis of both."""
    if axis == "spatial":
        return layer(z, source, None, mask, key=key)[0]
    if axis == "temporal":
        z, source, mask = z.swapaxes(-3, -2), source.swapaxes(-3, -2), mask.swapaxes(-2, -1)
        return layer(z, source, None, mask, key=key)[0].swapaxes(-3, -2)
    lead = z.shape[:-3]
    tokens = [a.reshape(*lead, -1, a.shape[-1]) for a in (z, source)]
    return layer(*tokens, None, mask.reshape(*lead, -1), key=key)[0].reshape(z.shape)


class GridEncoder(nnx.Module):
    """`depth` layers z <- LN(z + MHA(z, source)); z <- LN(z + W2 relu(W1 z)) on a grid of tokens.

    The source is z itself along one axis: all T S tokens at once ("multi_axis"), or T alone and S alone, first
    the one and then the other ("sequential") or in turns ("interleaved").

    Args:
        dim, heads, hidden, rate: of the layers.
        depth: number of layers.
        attention: "multi_axis", "sequential" or "interleaved".
        latents: (T', S') or None. With latents the FIRST layer has T' S' learned queries that read all tokens,
            and the other layers work on the grid of latents.
        latent_reads_source: the other layers read the tokens again instead of the latents.
    Raises:
        ValueError: `latent_reads_source` without latents, or with factorised attention.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        depth: int,
        *,
        attention: str = "multi_axis",
        latents: tuple[int, int] | None = None,
        latent_reads_source: bool = False,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        if latent_reads_source and (latents is None or attention != "multi_axis"):
            raise ValueError("fusion 'wayformer': latent_reads_source needs latents and multi-axis attention")

        def layer():
            return DecoderLayer(dim, heads, hidden, self_attention=False, rate=rate, rngs=rngs)

        self.layers = nnx.List([layer() for _ in range(depth)])
        self.latents = None if latents is None else normal(rngs, (*latents, dim), std=1.0)
        self.axes, self.latent_reads_source = layer_axes(attention, depth), latent_reads_source

    def states(self, x: Array, mask: Array, position: Array | None = None, *, key: Array | None = None):
        """The grid and its mask after every layer, [(z, mask)].

        `position`, broadcast to x, is added to keys and values wherever a layer reads tokens, never to queries.
        A latent counts as present where there was any token to read.
        """

        def place(z):
            return z if position is None else z + position

        keys = split_key(key, len(self.layers))
        if self.latents is None:
            z, states = x, []
            for axis, layer, layer_key in zip(self.axes, self.layers, keys, strict=True):
                z = attend_along(axis, layer, z, place(z), mask, layer_key)
                states.append((z, mask))
            return states
        z = jnp.broadcast_to(self.latents[...], (*x.shape[:-3], *self.latents.shape))
        present = jnp.broadcast_to(mask.any((-2, -1), keepdims=True), z.shape[:-1])
        tokens = place(x).reshape(*x.shape[:-3], 1, -1, x.shape[-1])
        token_mask, states = mask.reshape(*mask.shape[:-2], 1, -1), []
        for i, (axis, layer, layer_key) in enumerate(zip(self.axes, self.layers, keys, strict=True)):
            if i == 0 or self.latent_reads_source:
                z = attend_along("all", layer, z, tokens, token_mask, layer_key)
            else:
                z = attend_along(axis, layer, z, z, present, layer_key)
            states.append((z, present))
        return states

    def __call__(self, x, mask, position=None, *, key=None) -> tuple[Array, Array]:
        """The last of `states`."""
        return self.states(x, mask, position, key=key)[-1]


class SceneEncoder(nnx.Module):
    """An encoder a modality, then one over all: the two depths say where the modalities meet.

    Late fusion has depths (L, 0), early fusion (0, L), hierarchical fusion (L / 2, L / 2).

    Args:
        modalities: M.
        dim, heads, hidden, and the options not named here: as in `GridEncoder`.
        depths: layers of each modality encoder, and of the cross-modal encoder.
        latents: (T', S') of a modality encoder, and of the cross-modal encoder; None for none.
    """

    def __init__(
        self,
        modalities: int,
        dim: int,
        heads: int,
        hidden: int,
        depths: tuple[int, int],
        *,
        attention: str = "multi_axis",
        latents: tuple[tuple[int, int], tuple[int, int]] | None = None,
        latent_reads_source: bool = False,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        def encoder(stage, rngs):
            return GridEncoder(
                dim,
                heads,
                hidden,
                depths[stage],
                attention=attention,
                rate=rate,
                rngs=rngs,
                latents=latents and latents[stage],
                latent_reads_source=latent_reads_source,
            )

        self.modal = stack(lambda rngs: encoder(0, rngs), modalities, rngs) if depths[0] else None
        self.cross = encoder(1, rngs) if depths[1] else None

    def streams(self, x, mask, position=None, *, key=None) -> tuple[Array, Array]:
        """The stage of one encoder a modality: [..., M, S, D] -> [..., M, S', D], and the mask."""
        if self.modal is None:
            return x, mask
        at = x.ndim - 3  # the axis of the modalities

        def one(encoder, x, mask, position, key):
            position = None if position is None else jnp.expand_dims(position, -3)
            z, z_mask = encoder(x[..., None, :, :], mask[..., None, :], position, key=key)
            return z[..., 0, :, :], z_mask[..., 0, :]  # each modality is a grid of its own, T = 1

        keys = None if key is None else jax.random.split(key, x.shape[at])
        in_axes = (0, at, at, None if position is None else -3, None if key is None else 0)
        return jax.vmap(one, in_axes=in_axes, out_axes=at)(self.modal, x, mask, position, keys)

    def __call__(
        self,
        x: Array,  # [..., M, S, D]
        mask: Array,  # bool [..., M, S]
        position: Array | None = None,  # [..., M, S, D], of keys and values; see `GridEncoder.states`
        *,
        key: Array | None = None,
    ) -> tuple[Array, Array]:
        """The scene [..., T', S', D] and its mask. Positions are for tokens: behind modality encoders none is left."""
        first, second = split_key(key, 2)
        z, mask = self.streams(x, mask, position, key=first)
        if self.cross is None:
            return z, mask
        return self.cross(z, mask, position if self.modal is None else None, key=second)
