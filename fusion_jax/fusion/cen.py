"""Channel exchange: channels that batch norm scales to almost nothing are replaced by those of other modalities.

Reference: Wang, Huang, Sun, Xu, Rong, Huang, "Deep Multimodal Fusion by Channel Exchanging", NeurIPS 2020; code of the
authors, yikaiw/CEN at 0088d87a (`semantic_segmentation/models/{modules,model}.py`, `main.py`; MIT), run on maps of one
pixel. Golden `cen/exchange` and `cen/bottleneck`, two modalities.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.attention import masked_softmax
from fusion_jax.nn.init import ones
from fusion_jax.nn.norm import MaskedBatchNorm
from fusion_jax.records import Array, Attention, Fused, Info


class Norms(nnx.Module):
    """One batch norm a modality, its statistics over the nodes that have the modality."""

    def __init__(self, modalities: int, dim: int, *, rngs: nnx.Rngs):
        self.each = nnx.List([MaskedBatchNorm(dim, rngs=rngs) for _ in range(modalities)])

    def __call__(self, x: Array, mask: Array, *, training: bool) -> Array:
        """x [N, M, D], mask [N, M] -> [N, M, D]."""
        normed = [norm(x[:, m], mask[:, m], training=training) for m, norm in enumerate(self.each)]
        return jnp.stack(normed, axis=1)

    @property
    def scales(self) -> Array:
        """[M, D]"""
        return jnp.stack([norm.scale[...] for norm in self.each])


class Bottleneck(nnx.Module):
    """y_m = relu(x_m + n_3(W_3 relu(exchange(n_2(W_2 relu(n_1(W_1 x_m))))))), W shared, norms n of every modality."""

    def __init__(self, modalities: int, dim: int, width: int, *, threshold: float, start: float, rngs: nnx.Rngs):
        def linear(i, o):
            return nnx.Linear(i, o, use_bias=False, rngs=rngs)

        self.conv1, self.bn1 = linear(dim, width), Norms(modalities, width, rngs=rngs)
        self.conv2, self.bn2 = linear(width, width), Norms(modalities, width, rngs=rngs)
        self.conv3, self.bn3 = linear(width, dim), Norms(modalities, dim, rngs=rngs)
        self.threshold = threshold
        for m, norm in enumerate(self.bn2.each if modalities > 1 else ()):
            norm.scale.set_value(norm.scale[...].at[part(m, modalities, width)].set(start))

    def __call__(self, x: Array, mask: Array, *, training: bool) -> Array:
        """x [N, M, D], mask [N, M] -> [N, M, D]."""
        z = jax.nn.relu(self.bn1(self.conv1(x), mask, training=training))
        z = self.bn2(self.conv2(z), mask, training=training)
        z = jax.nn.relu(exchange(z, self.bn2.scales, mask, self.threshold))
        z = self.bn3(self.conv3(z), mask, training=training)
        return jnp.where(mask[..., None], jax.nn.relu(z + x), 0)

    def penalty(self) -> Array:
        """Sum of |scale| over the channels of bn2 that a modality is to give away, the m-th of M parts of them."""
        scales = jnp.abs(self.bn2.scales)
        modalities, width = scales.shape
        return sum(scales[m, part(m, modalities, width)].sum() for m in range(modalities))


def part(m: int, modalities: int, width: int) -> slice:
    """The m-th of M parts of the channels, as equal as they come."""
    return slice(m * width // modalities, (m + 1) * width // modalities)


def exchange(z: Array, scales: Array, mask: Array, threshold: float) -> Array:
    """z [N, M, D] with the channels of small |scale| [M, D] replaced by the mean over the node's other modalities.

    Two modalities give each other theirs. A modality that is alone at its node keeps its own.
    """
    others = ~jnp.eye(mask.shape[1], dtype=bool) & mask[:, None]  # [N, M, M]
    count = others.sum(-1)[..., None]
    mean = jnp.einsum("nmk,nkd->nmd", others.astype(z.dtype), jnp.where(mask[..., None], z, 0))
    mean = mean / jnp.maximum(count, 1).astype(z.dtype)
    return jnp.where((jnp.abs(scales) < threshold) & (count > 0), mean, z)


class CEN(Fusion):
    """tokens = `Bottleneck` of x, `blocks` times; out = sum over the present m of softmax(alpha)_m tokens_m.

    In the middle of a bottleneck, channel c of modality m becomes the mean of the other present modalities' channel c
    where |gamma_mc| < threshold, gamma the scale of the batch norm in front of it. Training drives some scales there:
    `losses["sparsity"]` is sparsity * sum |gamma_mc| over the m-th of M equal parts of the channels (halves for M = 2),
    different ones for each modality, so that who gives a channel away finds another's in its place.

    Published for images and M = 2. Nodes carry vectors, so the convolutions are linear maps, shared by the modalities
    as in the code; what is around a node comes from the graph layers. alpha mixes logits there; in front of a linear
    head it mixes them here too. (There the streams have losses of their own, and alpha alone is learned by the
    mixture's.) M = 1 has nothing to exchange and no penalty. Missing modalities have no part in statistics, exchange
    and mixture.

    Attention "ensemble" [N, M] holds the weights of the mixture.

    Args:
        blocks: bottlenecks (33 in the paper's ResNet-101).
        width: channels of a bottleneck, D / 4 rounded down if None, at least 1 (the paper's expansion is 4).
        threshold: of |gamma|; the code compares every channel, the paper only those with a penalty.
        sparsity: weight of the penalty. The code adds it once for each of its M + 1 cross-entropies, so that beside
            one cross-entropy it weighs the same here.
        start: first value of the penalised scales (ours; 1 in the paper, whose trainings are tens of thousands of steps
            long: in a few hundred none gets from 1 to below the threshold, and nothing is ever exchanged).
    Raises:
        ValueError: widths or blocks below 1, a negative threshold or sparsity.
    """

    info = Info(
        "Wang et al., Deep Multimodal Fusion by Channel Exchanging",
        2020,
        pinned="authors' code",
        golden="cen",
        cost="O(N M D^2)",
    )
    placements = ("before", "after", "interleaved")  # not "decision": a relu of logits

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        blocks: int = 2,
        width: int | None = None,
        threshold: float = 2e-2,
        sparsity: float = 2e-4,
        start: float = 0.05,
        rngs: nnx.Rngs,
    ):
        width = max(1, dim // 4) if width is None else width
        if blocks < 1 or width < 1 or threshold < 0 or sparsity < 0:
            raise ValueError(
                f"fusion 'cen': blocks={blocks}, width={width}, threshold={threshold}, sparsity={sparsity}; expected "
                "at least 1, 1, 0 and 0"
            )
        self.blocks = nnx.List(
            [Bottleneck(modalities, dim, width, threshold=threshold, start=start, rngs=rngs) for _ in range(blocks)]
        )
        self.alpha = ones((modalities,))
        self.sparsity = sparsity

    def nodes(self, x, mask, graph, context):
        del graph
        tokens = jnp.where(mask[..., None], x, 0)
        for block in self.blocks:
            tokens = block(tokens, mask, training=context.key is not None)
        weights = masked_softmax(jnp.broadcast_to(self.alpha[...], mask.shape), mask)
        out = (weights[..., None] * tokens).sum(1)
        losses = {}
        if self.sparsity and mask.shape[1] > 1:
            losses["sparsity"] = self.sparsity * sum(block.penalty() for block in self.blocks)
        shown = Attention("ensemble", weights, ("node", "modality"), "node", "modality", valid=mask)
        return Fused(out, tokens, (shown,), losses)
