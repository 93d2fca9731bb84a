"""The pieces of the hierarchical Perceiver: grouping, one block, the whole auto-encoder.

Layout [..., G, n, C]: G groups of n tokens; attention acts inside a group. Masks are true where a token
counts. Reference: google-deepmind/hierarchical_perceiver, a1c4cd2d (perceiver.py, perceiver_blocks.py,
perceiver_helpers.py); golden `hierarchical-perceiver`, and `perceiver-io/hip_repo_perceiver_io` (one block).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.nn.dropout import split_key
from fusion_jax.nn.perceiver import CrossAttention, SelfAttention, squared_relu
from fusion_jax.records import Array


class Grouping:
    """Cuts the token lists of the modalities into G groups of equal size, no group with two modalities.

    Every modality has one group to begin with; each further group goes to the modality with the most tokens a
    group (the first of equals). Zeros fill a modality up to equal groups, then each group up to the largest.
    One group for several modalities means: all tokens one after another, as in Perceiver IO.

    Attributes:
        groups: groups of each modality.
        size: n, tokens a group.
    """

    def __init__(self, counts: Sequence[int], num_groups: int):
        if 1 < num_groups < len(counts) or num_groups < 1:
            raise ValueError(
                f"hierarchical_perceiver: {num_groups} groups for {len(counts)} modalities; give 1, or at "
                "least one a modality"
            )
        self.counts, self.joint = tuple(counts), num_groups == 1
        groups = [1] * len(counts)
        for _ in range(num_groups - len(counts)):
            filled = [c / g for c, g in zip(counts, groups, strict=True)]
            groups[filled.index(max(filled))] += 1
        self.groups = tuple(groups)
        most = max(c / g for c, g in zip(counts, groups, strict=True))
        self.size = sum(counts) if self.joint else math.ceil(most)

    def group(self, tokens: Sequence[Array]) -> Array:
        """One [..., n_m, C] a modality -> [..., G, n, C]."""
        if self.joint:
            return jnp.concatenate(tokens, axis=-2)[..., None, :, :]
        return jnp.concatenate([self._cut(t, g) for t, g in zip(tokens, self.groups, strict=True)], axis=-3)

    def _cut(self, x: Array, groups: int) -> Array:
        per_group = math.ceil(x.shape[-2] / groups)
        x = _pad(x, per_group * groups - x.shape[-2])
        x = x.reshape(*x.shape[:-2], groups, per_group, x.shape[-1])
        return _pad(x, self.size - per_group)

    def ungroup(self, x: Array) -> list[Array]:
        """The inverse of `group`. From latents [..., G, n', C] the same padding is dropped, off n' not n."""
        ends = [sum(self.counts[: m + 1]) for m in range(len(self.counts))]
        if self.joint:
            return [x[..., 0, end - c : end, :] for c, end in zip(self.counts, ends, strict=True)]
        out, start = [], 0
        for count, groups in zip(self.counts, self.groups, strict=True):
            per_group = math.ceil(count / groups)
            y = x[..., start : start + groups, : x.shape[-2] - (self.size - per_group), :]
            y = y.reshape(*y.shape[:-3], groups * y.shape[-2], y.shape[-1])
            out.append(y[..., : y.shape[-2] - (per_group * groups - count), :])
            start += groups
        return out

    def by_modality(self, x: Array) -> Array:
        """Mean of [..., G, n, C] over the groups and tokens of each modality, [..., M, C]."""
        parts = jnp.split(x, [sum(self.groups[:m]) for m in range(1, len(self.groups))], axis=-3)
        return jnp.stack([p.mean((-3, -2)) for p in parts], axis=-2)


def _pad(x: Array, rows: int) -> Array:
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, rows), (0, 0)])


def regroup(x: Array, num_groups: int, how: str = "reshape") -> Array:
    """[..., G, n, C] -> [..., G', G n / G', C].

    "reshape" merges or splits neighbouring groups, "transpose_reshape" swaps G and n first, which mixes all.
    """
    if how not in ("reshape", "transpose_reshape"):
        raise ValueError(f"hierarchical_perceiver: regroup={how!r}: give 'reshape' or 'transpose_reshape'")
    if how == "transpose_reshape":
        x = jnp.swapaxes(x, -3, -2)
    return x.reshape(*x.shape[:-3], num_groups, -1, x.shape[-1])


class Block(nnx.Module):
    """Regrouped input read by the latents of each group, then self-attentions inside the groups.

    The table of latents has a row for every latent of every group; the groups share all other weights.

    Args:
        input_dim: width of the input.
        groups, latents, dim: G', n' and C' of the output.
        self_attends, heads, widening: of the self-attentions.
        cross_widening: of the cross-attention.
        skip_dim: width of the skip, None where there is none.
        how: kind of regrouping, None for none.
        rate: dropout in the self-attentions.
    """

    def __init__(
        self,
        input_dim: int,
        groups: int,
        latents: int,
        dim: int,
        *,
        self_attends: int,
        heads: int,
        cross_heads: int = 1,
        widening: int = 4,
        cross_widening: int = 1,
        skip_dim: int | None = None,
        how: str | None = "reshape",
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        self.latents = _table(rngs, groups * latents, dim)
        # the reference never hands its activation option down: it is squared relu whatever the option says
        self.cross = CrossAttention(
            dim, input_dim, cross_heads, widening=cross_widening, activation=squared_relu, rngs=rngs
        )
        project = skip_dim is not None and skip_dim != dim
        self.skip = nnx.Linear(skip_dim, dim, rngs=rngs) if project else None
        self.stack = nnx.List(
            [
                SelfAttention(dim, heads, widening=widening, activation=squared_relu, rate=rate, rngs=rngs)
                for _ in range(self_attends)
            ]
        )
        self.groups, self.how = groups, how

    def regroup(self, x: Array, mask: Array | None) -> tuple[Array, Array | None]:
        if self.how is None:
            return x, mask
        if mask is not None:
            mask = regroup(mask[..., None], self.groups, self.how)[..., 0]
        return regroup(x, self.groups, self.how), mask

    def read(self, x: Array, skip: Array | None = None, mask: Array | None = None) -> tuple[Array, Array]:
        """Regrouping and cross-attention: x [..., G, n, C] -> [..., G', n', C'] and weights."""
        x, mask = self.regroup(x, mask)
        query = self.latents[...].reshape(self.groups, -1, self.latents.shape[-1])
        if skip is not None:
            query = query + (skip if self.skip is None else self.skip(skip))
        return self.cross(query, x, mask)

    def process(self, z: Array, *, key: Array | None = None) -> Array:
        """The self-attentions inside the groups."""
        for layer, k in zip(self.stack, split_key(key, len(self.stack)), strict=True):
            z = layer(z, key=k)
        return z


class HiPOutput(NamedTuple):
    latents: list[Array]  # one [..., G_i, n_i, C_i] a block
    weights: Array  # [..., H, n_p, K], what the processor's latents read
    reconstruction: list[Array]  # one [..., n_m, c_m] a modality


class HiP(nnx.Module):
    """The auto-encoder: embed, add positions, group, blocks 0..2p with skips from block 2p - i to i, decode.

    Args:
        counts, widths: n_m and c_m, tokens of each modality and their width.
        split: a token becomes so many by a linear layer (1: as published).
        embed_dim: E, width of the embedded tokens and of the positions.
        groups, latents, dims: G_i, n_i and C_i of each block; the middle block p has one group.
        self_attends, heads, widening, cross_heads, cross_widening: of each block.
        how: "reshape" or "transpose_reshape", the regrouping between blocks.
        project_positions: a linear layer without bias on the positions of each modality.
        mask_padding: whether the zeros that fill the groups are hidden from block 0. The reference lets them
            take part.
        rate: dropout in the self-attentions.
    """

    def __init__(
        self,
        counts: Sequence[int],
        widths: Sequence[int],
        *,
        embed_dim: int,
        groups: Sequence[int],
        latents: Sequence[int],
        dims: Sequence[int],
        self_attends: Sequence[int],
        heads: Sequence[int],
        widening: Sequence[int],
        cross_heads: Sequence[int],
        cross_widening: Sequence[int],
        split: int = 1,
        how: str = "reshape",
        project_positions: bool = False,
        mask_padding: bool = False,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        self.grouping = Grouping([split * n for n in counts], groups[0])
        self.check(groups, latents)

        def linear(i, o, **kw):
            return nnx.Linear(i, o, rngs=rngs, **kw)

        self.embed = nnx.List([linear(c, split * embed_dim) for c in widths])
        zero = nnx.initializers.zeros_init()
        self.unembed = nnx.List([linear(split * embed_dim, c, kernel_init=zero) for c in widths])
        self.positions = nnx.List([_table(rngs, n, embed_dim) for n in self.grouping.counts])
        # one a modality: the reference means to share it, but Haiku makes a new one with every call
        project = [linear(embed_dim, embed_dim, use_bias=False) for _ in widths if project_positions]
        self.project = nnx.List(project)
        self.middle, self.split, self.mask_padding = len(groups) // 2, split, mask_padding
        inputs = (embed_dim, *dims[:-1])
        self.blocks = nnx.List(
            [
                Block(
                    inputs[i],
                    groups[i],
                    latents[i],
                    dims[i],
                    self_attends=self_attends[i],
                    heads=heads[i],
                    cross_heads=cross_heads[i],
                    widening=widening[i],
                    cross_widening=cross_widening[i],
                    skip_dim=dims[2 * self.middle - i] if i > self.middle else None,
                    how=how if i else None,
                    rate=rate,
                    rngs=rngs,
                )
                for i in range(len(groups))
            ]
        )
        self.head = CrossAttention(embed_dim, dims[-1], residual=False, activation=squared_relu, rngs=rngs)

    @staticmethod
    def check(groups: Sequence[int], latents: Sequence[int]):
        """Raises ValueError unless the levels fit each other."""
        p = len(groups) // 2
        if len(groups) % 2 == 0 or groups[p] != 1:
            raise ValueError(f"hierarchical_perceiver: groups {tuple(groups)} must be an odd number, the middle one 1")
        for i in range(1, len(groups)):
            if groups[i - 1] * latents[i - 1] % groups[i]:
                raise ValueError(
                    f"hierarchical_perceiver: {groups[i - 1]} groups of {latents[i - 1]} latents do not make "
                    f"the {groups[i]} groups of level {i}"
                )
        for i in range(p + 1, len(groups)):
            j = 2 * p - i
            if (groups[i], latents[i]) != (groups[j], latents[j]):
                raise ValueError(
                    f"hierarchical_perceiver: a skip joins levels {j} and {i}; their groups and latents differ"
                )

    def __call__(self, inputs: Sequence[Array], present: Array | None = None, *, key: Array | None = None) -> HiPOutput:
        """One [..., n_m, c_m] a modality, present bool [..., M] or None for all there."""
        down, up = split_key(key, 2)
        latents, weights, _, mask = self.encode(inputs, present, key=down)
        latents, mask = self.decode(latents, mask, key=up)
        return HiPOutput(latents, weights, self.reconstruct(latents[-1], mask))

    def encode(
        self, inputs: Sequence[Array], present: Array | None = None, *, key: Array | None = None
    ) -> tuple[list[Array], Array, Array | None, Array | None]:
        """Blocks 0..p: their latents, what the processor's read, what they can (bool [..., K]), which of them count."""
        tokens = [self._embed(m, x) + p for m, (x, p) in enumerate(zip(inputs, self._positions(), strict=True))]
        z, mask, read, latents = self.grouping.group(tokens), self._token_mask(inputs, present), None, []
        for i, k in enumerate(split_key(key, self.middle + 1)):
            seen = self.blocks[i].regroup(z, mask)[1]
            z, mask, read = self._block(i, z, None, mask, k)
            latents.append(z)
        return latents, read[..., 0, :, :, :], None if seen is None else seen[..., 0, :], mask

    def decode(
        self, latents: Sequence[Array], mask: Array | None, *, key: Array | None = None
    ) -> tuple[list[Array], Array | None]:
        """Blocks p+1..2p on what `encode` returns: the latents of all blocks, and which of the last ones count."""
        latents = list(latents)
        for i, k in enumerate(split_key(key, len(self.blocks) - len(latents)), self.middle + 1):
            z, mask, _ = self._block(i, latents[-1], latents[2 * self.middle - i], mask, k)
            latents.append(z)
        return latents, mask

    def reconstruct(self, z: Array, mask: Array | None) -> list[Array]:
        """The last block's latents -> one [..., n_m, c_m] a modality, asked for by the positions."""
        query = self.grouping.group(self._positions())
        decoded = self.grouping.ungroup(self.head(query, z, mask)[0])
        return [self._unembed(m, y) for m, y in enumerate(decoded)]

    def _block(self, i: int, z: Array, skip: Array | None, mask: Array | None, key: Array | None):
        """Latents of block i, which of them count, and what they read."""
        z, read = self.blocks[i].read(z, skip, mask)
        z = self.blocks[i].process(z, key=key)
        return z, self._alive(self.blocks[i], mask, z.shape[-2]), read

    def _positions(self) -> list[Array]:
        positions = [p[...] for p in self.positions]
        return [w(p) for w, p in zip(self.project, positions, strict=True)] if len(self.project) else positions

    def _embed(self, m: int, x: Array) -> Array:
        y = self.embed[m](x)
        return y.reshape(*x.shape[:-2], x.shape[-2] * self.split, -1)

    def _unembed(self, m: int, y: Array) -> Array:
        return self.unembed[m](y.reshape(*y.shape[:-2], y.shape[-2] // self.split, -1))

    def _token_mask(self, inputs, present) -> Array | None:
        """bool [..., G, n]: tokens block 0 may see; None where it sees all."""
        if present is None and not self.mask_padding:
            return None
        lead = inputs[0].shape[:-2]
        if present is None:
            present = jnp.ones((*lead, len(inputs)), bool)
        full = [
            jnp.broadcast_to(present[..., m, None, None], (*lead, n, 1)) for m, n in enumerate(self.grouping.counts)
        ]
        seen = self.grouping.group(full)[..., 0]  # the padding is False
        if self.mask_padding or self.grouping.joint:
            return seen
        return jnp.broadcast_to(seen.any(-1, keepdims=True), seen.shape)

    @staticmethod
    def _alive(block: Block, mask: Array | None, latents: int) -> Array | None:
        """bool [..., G', n']: the latents of groups that saw anything."""
        if mask is None:
            return None
        alive = mask if block.how is None else regroup(mask[..., None], block.groups, block.how)[..., 0]
        alive = alive.any(-1, keepdims=True)
        return jnp.broadcast_to(alive, (*alive.shape[:-1], latents))


def _table(rngs: nnx.Rngs, rows: int, width: int) -> nnx.Param:
    """The reference draws its tables like weights, so that std = 1 / sqrt(rows)."""
    return nnx.Param(jax.nn.initializers.lecun_normal()(rngs.params(), (rows, width), jnp.float32))
