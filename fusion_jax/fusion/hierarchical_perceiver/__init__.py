"""Latents work inside each modality, fuse in one group, and return to the modalities (HiP).

Reference: Carreira et al., "HiP: Hierarchical Perceiver", 2022 (arXiv 2202.10890),
google-deepmind/hierarchical_perceiver, a1c4cd2d; golden `hierarchical-perceiver`.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.fusion.hierarchical_perceiver.blocks import HiP
from fusion_jax.nn.dropout import split_key
from fusion_jax.records import Array, Attention, Fused, Info


class HierarchicalPerceiver(Fusion):
    """out = mean of the middle block's latents; tokens_m = mean of the last block's latents of modality m.

    Each x_m becomes T tokens of width E by a linear layer, plus learned positions. Block i has G_i groups,
    each with n_i latents of width C_i of its own, that read the block before (regrouped) and attend to each
    other; behind the middle, the block of the same size before it is added to the latents. A last
    cross-attention, asked by the positions, reconstructs the modalities. The groups of a missing modality see
    nothing in the first block and are not seen by the next. `tokens` is None where G_0 = 1 for several
    modalities.

    In training, `losses["reconstruction"]` is `reconstruction` times the mean over present modalities and
    features of (x^_m - x_m)^2, from a second pass in which each present modality is hidden with probability
    `hide`; x_m is a constant there, or encoders would learn to make it small.

    Args:
        tokens: T, tokens a modality.
        embed_dim: E.
        groups: one a block, G_0 >= M, the middle one 1; (M, 1, M) if None.
        latents: one a block; (T, 2 M, T) if None. The middle one must make as many groups as follow it.
        dims: C_i, one a block; D everywhere if None. The middle and last are D.
        self_attends: one a block; (1, 2, 1) if None, 1 everywhere where there are not three blocks.
        heads: heads of the self-attentions; divide every C_i.
        widening, cross_widening: hidden widths of the MLPs in units of C_i.
        regroup: "reshape" merges neighbouring groups, "transpose_reshape" mixes all.
        mask_padding: hide the zeros that fill groups; False as in the reference.
        reconstruction: weight of the auxiliary loss (0: none).
        hide: probability in [0, 1) of hiding a modality from the pass the loss comes from.
        rate: dropout in the self-attentions.

    Attention "middle" [N, 1, n_p, K] is what the middle block's latents read of the K latents before it.

    Raises:
        ValueError: levels that do not fit each other, heads that do not divide a width.
    """

    info = Info(
        "Carreira et al., HiP: Hierarchical Perceiver",
        2022,
        pinned="authors' code",
        golden="hierarchical-perceiver",
        cost="O(N sum_i G_i n_i n_(i-1) C_i)",
    )
    placements = ("before", "after", "interleaved")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        tokens: int = 4,
        embed_dim: int = 16,
        groups: Sequence[int] | None = None,
        latents: Sequence[int] | None = None,
        dims: Sequence[int] | None = None,
        self_attends: Sequence[int] | None = None,
        heads: int = 4,
        widening: int = 4,
        cross_widening: int = 1,
        regroup: str = "reshape",
        mask_padding: bool = True,
        reconstruction: float = 0.1,
        hide: float = 0.25,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        groups = (modalities, 1, modalities) if groups is None else tuple(groups)
        levels, middle = len(groups), len(groups) // 2
        latents = (tokens, 2 * modalities, tokens) if latents is None else tuple(latents)
        dims = (dim,) * levels if dims is None else tuple(dims)
        if self_attends is None:
            self_attends = (1, 2, 1) if levels == 3 else (1,) * levels
        self._check(dim, levels, middle, latents, dims, self_attends, heads)
        self.hip = HiP(
            [1] * modalities,
            [dim] * modalities,
            split=tokens,
            embed_dim=embed_dim,
            groups=groups,
            latents=latents,
            dims=dims,
            self_attends=self_attends,
            heads=(heads,) * levels,
            widening=(widening,) * levels,
            cross_heads=(1,) * levels,
            cross_widening=(cross_widening,) * levels,
            how=regroup,
            mask_padding=mask_padding,
            rate=rate,
            rngs=rngs,
        )
        self.reconstruction, self.hide = reconstruction, hide

    @staticmethod
    def _check(dim, levels, middle, latents, dims, self_attends, heads):
        name = "hierarchical_perceiver"
        for option, given in (("latents", latents), ("dims", dims), ("self_attends", self_attends)):
            if len(given) != levels:
                raise ValueError(f"fusion {name!r}: {option} has {len(given)} levels, groups has {levels}")
        if (dims[middle], dims[-1]) != (dim, dim):
            raise ValueError(f"fusion {name!r}: middle and last of dims={dims} must be the width D={dim}")
        for width in dims:
            check_heads(name, width, heads)

    def nodes(self, x, mask, graph, context):
        hip, n, present = self.hip, x.shape[0], mask
        down, hide, up, up_again = split_key(context.key, 4)
        second = context.key is not None and self.reconstruction
        if second:  # both passes as one batch of 2 N: a third fewer products for the compiler
            x = jnp.concatenate([x, x])
            present = jnp.concatenate([mask, mask & jax.random.bernoulli(hide, 1 - self.hide, mask.shape)])
        latents, weights, seen, alive = hip.encode(self._inputs(x), present, key=down)
        # not the upper blocks: the compiler drops those of the first pass where nobody asks for its tokens
        last, _ = hip.decode(*_rows((latents, alive), slice(n)), key=up)
        out = latents[hip.middle][:n, 0].mean(-2)
        tokens = None if hip.grouping.joint and x.shape[-2] > 1 else hip.grouping.by_modality(last[-1])
        losses = {}
        if second:
            last, alive = hip.decode(*_rows((latents, alive), slice(n, None)), key=up_again)
            error = self._error(hip.reconstruct(last[-1], alive), x[:n], mask)
            losses["reconstruction"] = self.reconstruction * error
        axes = ("node", "head", "latent", "latent")
        middle = Attention("middle", weights[:n], axes, "latent", "latent", valid=seen[:n, None, None])
        return Fused(out, tokens, (middle,), losses)

    def _inputs(self, x: Array) -> list[Array]:
        return [x[..., m, None, :] for m in range(x.shape[-2])]  # [N, 1, D] each

    @staticmethod
    def _error(guess: list[Array], x: Array, mask: Array) -> Array:
        """Mean squared error over the present modalities; guess one [N, 1, D] a modality."""
        error = jnp.concatenate(guess, axis=-2) - jax.lax.stop_gradient(x)
        count = jnp.maximum(mask.sum() * x.shape[-1], 1).astype(x.dtype)
        return (jnp.where(mask[..., None], error, 0) ** 2).sum() / count


def _rows(tree, rows: slice):
    return jax.tree.map(lambda a: a[rows], tree)
