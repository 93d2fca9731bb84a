"""All modalities of all nodes as one sequence: every token sees all others, next to message passing.

Reference: He and Kabic, "A Unified View of Long-Sequence Models towards Million-Scale Dependencies", 2023 (arXiv
2302.06218). No code is public and only abstract and notation were to be read: the mixers are the standard forms of the
ingredients listed there. Golden `long-sequence-unified`, computed independently; pieces in `nn.long_sequence`.
"""

from __future__ import annotations

import jax
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.long_sequence import Convolution, Fourier, Linear, LowRank, MLPMix, Softmax, graphs_of
from fusion_jax.nn.mlp import gelu
from fusion_jax.records import Fused, Info
from fusion_jax.zoo import nearest

OVER_ALL = ("softmax", "linear")
ATTENTIONS = (*OVER_ALL, "low_rank")
ACTIVATIONS = {"none": lambda y: y, "relu": jax.nn.relu, "gelu": gelu}


class LongSequenceUnified(Fusion):
    """Y = P(X) V(X), tokens = f(Y W_o) [+ X]; out = mean of the present tokens of a node.

    With "softmax" and "linear" X are all present (node, modality) pairs of a graph, [N M, D], as one sequence: softmax
    over all of them of q . k / sqrt(d), or (elu(q) + 1) . (elu(k) + 1) over its sum, per head. The others need an order
    and a length: X is one node's [M, D] (ours), a missing modality 0. "fourier" is Re(F_M X F_D), which has no place
    for a mask; "mlp" W X; "low_rank" softmax(q (E k)^T / sqrt(d)) E v; "convolution" sum_t w_t x_(m - t mod M).

    No edge is read, only which graph of a batch a node is in; without a graph all nodes are one. The weights, (N M)^2
    numbers a head, are never held and not returned.

    Args:
        mixer: P.
        heads: of softmax, linear and low_rank.
        rank: of low_rank, how many combinations of the modalities are keys.
        hidden: of mlp, W is W_2 gelu(W_1 .) of that width (MLP-Mixer); None for one matrix.
        kernel_size: of convolution.
        activation: f, "none", "relu" or "gelu"; None: "none" where P is an attention, else "gelu". The mean over the
            modalities of a Fourier transform is that of the first alone, and of a convolution a multiple of that of X:
            without f such a mixer would be a linear map of the mean or of one modality.
        residual: whether X is added; the template's equation does not have it, the models it unifies do.
        shards: of softmax, over how many devices the nodes are laid, consecutive ones on each with all their
            modalities; keys and values go around (`nn.ring_attention`). The numbers are those of one device.
        block: of softmax, how many queries and keys are at work at a time: memory grows with its square.
    Raises:
        ValueError: an unknown mixer or activation, heads that do not divide the width, a number below 1, more shards
            than devices, or shards of another mixer than softmax.
    """

    info = Info(
        "He and Kabic, A Unified View of Long-Sequence Models towards Million-Scale Dependencies",
        2023,
        pinned="independent",
        golden="long-sequence-unified",
        cost="O(N^2 M^2 D), linear O(N M D^2), others O(N M (M + D) D)",
    )
    placements = ("before", "after", "interleaved")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        mixer: str = "softmax",
        heads: int = 4,
        rank: int = 2,
        hidden: int | None = None,
        kernel_size: int = 3,
        activation: str | None = None,
        residual: bool = False,
        shards: int = 1,
        block: int = 256,
        rngs: nnx.Rngs,
    ):
        name = "long_sequence_unified"
        who = f"fusion {name!r}"
        mixers = dict(
            softmax=lambda: Softmax(
                dim, dim, heads, shards=shards, together=modalities, block=block, who=who, rngs=rngs
            ),
            linear=lambda: Linear(dim, dim, heads, rngs=rngs),
            low_rank=lambda: LowRank(modalities, dim, dim, heads, rank=rank, rngs=rngs),
            fourier=Fourier,
            mlp=lambda: MLPMix(modalities, hidden=hidden, rngs=rngs),
            convolution=lambda: Convolution(kernel_size, rngs=rngs),
        )
        if mixer not in mixers:
            raise ValueError(f"{who}: mixer={mixer!r}{nearest(mixer, mixers)}; expected one of {', '.join(mixers)}")
        if activation is not None and activation not in ACTIVATIONS:
            near, known = nearest(activation, ACTIVATIONS), ", ".join(ACTIVATIONS)
            raise ValueError(f"{who}: activation={activation!r}{near}; expected None or one of {known}")
        numbers = dict(heads=heads, rank=rank, hidden=hidden, kernel_size=kernel_size, shards=shards, block=block)
        for option, value in numbers.items():
            if value is not None and value < 1:
                raise ValueError(f"{who}: {option}={value}, expected at least 1")
        if shards > 1 and mixer != "softmax":
            raise ValueError(f"{who}: shards={shards} needs mixer='softmax', got mixer={mixer!r}")
        if mixer in ATTENTIONS:
            check_heads(name, dim, heads)
        self.mixer = mixers[mixer]()
        self.out = nnx.Linear(dim, dim, use_bias=False, rngs=rngs)
        self.activation = activation or ("none" if mixer in ATTENTIONS else "gelu")
        self.residual, self.over_all = residual, mixer in OVER_ALL
        self.symmetries = ("nodes", "modalities") if self.over_all else ("nodes",)

    def nodes(self, x, mask, graph, context):
        del context
        n, m, d = x.shape
        if self.over_all:
            seen = mask if graph is None or graph.present is None else mask & graph.present[:, None]
            y = self.mixer.mix(x.reshape(n * m, d), seen.reshape(-1), graphs_of(graph, m))
        else:
            y = jax.vmap(self.mixer.mix)(x, mask)
        tokens = ACTIVATIONS[self.activation](self.out(y.reshape(n, m, d)))
        tokens = x + tokens if self.residual else tokens
        return Fused(masked_mean(tokens, mask), tokens)
