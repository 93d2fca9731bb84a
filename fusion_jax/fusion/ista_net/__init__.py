"""Token attention over hops, feature patches and modalities at once, tanh scores plus a learned map.

Reference: Wen et al., "Interactive Spatiotemporal Token Attention Network for Skeleton-based General
Interactive Action Recognition", IROS 2023; code Necolizer/ISTA-Net at 39d36e16; golden `ista-net/model`.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.fusion.ista_net.token_network import TokenNetwork, tokenize
from fusion_jax.graphs import Graph
from fusion_jax.nn.dropout import split_key
from fusion_jax.nn.segment import propagate
from fusion_jax.records import Array, Attention, Fused, Info


def hop_means(x: Array, mask: Array, graph: Graph, hops: int) -> tuple[Array, Array]:
    """x [N, M, D] and the means of 1 ... `hops` hops of neighbours [N, T, M, D], with what is present [N, T,
    M].

    A mean is over the senders that have the modality (at hop t, its mean of t - 1 hops) on the modality's own
    edge set; where no sender has it, it is missing.
    """
    values, there = [x], [mask]
    for _ in range(hops):
        x, mask = values[-1], there[-1]
        means, found = [], []
        for m in range(x.shape[1]):
            count = propagate(mask[:, m].astype(x.dtype), graph.view(m))
            means.append(propagate(x[:, m], graph.view(m)) / jnp.maximum(count, 1)[:, None])
            found.append(count > 0)
        values.append(jnp.stack(means, 1))
        there.append(jnp.stack(found, 1))
    return jnp.stack(values, 1), jnp.stack(there, 1)


def patch_width(dim: int) -> int:
    """The divisor of D next to sqrt(D)."""
    return min((c for c in range(1, dim + 1) if dim % c == 0), key=lambda c: abs(c - math.sqrt(dim)))


class IstaNet(Fusion):
    """out = W mean(blocks(lrelu(BN(W_e tokens)))), a block as `TokenBlock` says.

    The paper's axes on a graph (ours): frames are hops (the node, the means of its 1- and 2-hop neighbours, T
    in all), joints are the D / C patches of C channels a modality's features are cut into, entities are
    modalities. A token spans all hops, one patch and `entity_window` modalities: U = (D / C) ceil(M /
    entity_window) tokens. A missing modality is 0 in the input and after every block, and the divisors of S
    and of the final mean count what is present (ours). Attention "maps" [N, L, H, U', U] are the maps S of
    the L blocks, a row for what u' takes of every u; they do not sum to 1 and may be negative.

    Args:
        hops: T - 1 >= 0, hops of neighbours beside the node itself; in the paper T is the number of frames,
            120.
        channels: C, divides D; the divisor of D next to sqrt(D) if None.
        entity_window: modalities in a token, 1 ... M; all if None. With all of them the network does not see
            their order; with fewer, the last one is repeated up to a multiple.
        embed, blocks: width after the embedding and (width, width of q and k) of every block. The paper has
            64 and (64, 16) twice, (128, 32) twice, (256, 64) four times.
        heads: H, any number.
        kernels: odd sizes of the convolutions along hops and along tokens.
        positions: whether q and k see a code of the token index.
        norm: "batch" (the paper's) or "layer", over channels: nodes of one graph as a batch share statistics.
        rate, head_rate: dropout on S and before W.
        rearrange: permute the modalities of every node at random in training; without effect where a token
            spans all of them, sensible only for modalities that are interchangeable.
    Raises:
        ValueError: channels do not divide D, entity_window outside 1 ... M, an even kernel, an unknown norm.
    """

    info = Info(
        "Wen et al., Interactive Spatiotemporal Token Attention Network for Skeleton-based General "
        "Interactive Action Recognition",
        2023,
        pinned="authors' code",
        golden="ista-net",
        cost="O(N L H C T M U^2)",
        needs=("graph",),
    )

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        hops: int = 2,
        channels: int | None = None,
        entity_window: int | None = None,
        embed: int = 16,
        blocks: tuple[tuple[int, int], ...] = ((16, 4), (32, 8)),
        heads: int = 3,
        kernels: tuple[int, int] = (3, 5),
        positions: bool = True,
        norm: str = "batch",
        rate: float = 0.0,
        head_rate: float = 0.0,
        rearrange: bool = False,
        rngs: nnx.Rngs,
    ):
        channels = patch_width(dim) if channels is None else channels
        entity_window = modalities if entity_window is None else entity_window
        _check(modalities, dim, channels, entity_window, kernels, norm)
        self.hops, self.channels, self.rearrange = hops, channels, rearrange
        if entity_window == modalities:  # every token spans them all
            self.symmetries = ("nodes", "modalities")
        self.window = (hops + 1, 1, entity_window)
        tokens = dim // channels * -(-modalities // entity_window)
        self.net = TokenNetwork(
            channels,
            embed,
            blocks,
            dim,
            tokens,
            heads=heads,
            kernels=kernels,
            positions=positions,
            norm=norm,
            rate=rate,
            head_rate=head_rate,
            rngs=rngs,
        )

    def nodes(self, x, mask, graph, context):
        key, shuffle = split_key(context.key, 2)
        x, there = hop_means(x, mask, graph, self.hops)  # [N, T, M, D], [N, T, M]
        if self.rearrange and shuffle is not None:
            order = jnp.broadcast_to(jnp.arange(x.shape[2]), (x.shape[0], x.shape[2]))
            order = jax.random.permutation(shuffle, order, axis=1, independent=True)[:, None]
            x, there = jnp.take_along_axis(x, order[..., None], 2), jnp.take_along_axis(there, order, 2)
        x = x.reshape(*x.shape[:3], -1, self.channels).swapaxes(2, 3)  # [N, T, J, M, C]
        there = jnp.broadcast_to(there[:, :, None], x.shape[:4])
        tokens, present = tokenize(x, self.window), tokenize(there[..., None], self.window)[..., 0]
        out, weights = self.net(tokens, present, key=key)
        axes = ("node", "block", "head", "token", "token")
        maps = Attention("maps", weights.swapaxes(-2, -1), axes, "token", "token", normalised=False)
        return Fused(out, attention=(maps,))


def _check(modalities, dim, channels, entity_window, kernels, norm):
    if dim % channels:
        raise ValueError(f"fusion 'ista_net': channels={channels} does not divide the width D={dim}")
    if not 1 <= entity_window <= modalities:
        raise ValueError(f"fusion 'ista_net': entity_window={entity_window} must lie in 1 ... M={modalities}")
    if not all(k % 2 for k in kernels):
        raise ValueError(f"fusion 'ista_net': kernels={kernels} must be odd, an even one shifts the axis")
    if norm not in ("batch", "layer"):
        raise ValueError(f"fusion 'ista_net': norm={norm!r}, expected 'batch' or 'layer'")
