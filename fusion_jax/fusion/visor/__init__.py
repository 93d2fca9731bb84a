"""Layers that only read the modalities, layers that rewrite them, and a budget of the second kind, chosen a node.

Reference: Bulat, Baldrati, Metaxas, Ouali, Tzimiropoulos, "VISion On Request: Enhanced VLLM efficiency with sparse,
dynamically selected, vision-language interactions", CVPR 2026 (arXiv 2603.23495). No code is public and the body of the
paper was not at hand: this follows its update rule as public notes transcribe it. Golden `visor`. Its text tokens are
the nodes' states here, its vision tokens a node's modalities. Trained by scheme `visor`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.fusion.visor.blocks import Block, Reading
from fusion_jax.graphs import Graph
from fusion_jax.nn.init import masked_mean, normal
from fusion_jax.nn.mlp import gelu
from fusion_jax.nn.presence import zero_absent
from fusion_jax.records import Array, Attention, Context, Fused, Info

KINDS = ("text", "cross", "self")  # of layers 0, 1, 2, and again from 3 on: spread evenly, a third each
DRAWN, CHOSEN = -1, -2  # modes beside a fixed budget: one drawn for a step of training, one chosen by the policy


class Policy(nnx.Module):
    """Logits of the configurations [.., K + 1] from the state before the first layer that rewrites."""

    def __init__(self, dim: int, count: int, *, rngs: nnx.Rngs):
        self.fc1, self.fc2 = nnx.Linear(dim, dim, rngs=rngs), nnx.Linear(dim, count, rngs=rngs)

    def __call__(self, h: Array) -> Array:
        return self.fc2(gelu(self.fc1(h)))


class VISOR(Fusion):
    """h_0 = mean of the present x_m; L layers of three kinds in turn; out = h_L, tokens = x_L.

        text   h <- TL(h), attention along edges
        cross  z = h + MHA(LN h; x_m + c_m of the node), h <- TL(z); x stays as it is
        self   (x, h) <- TL([x; h]), tokens among themselves and the state, the state among its tokens, its senders and
               itself in one softmax; where the layer is not active, h <- TL(h) with the same weights

    TL is a pre-norm transformer layer. c_m, a learned vector a modality, stands in the place of the paper's convolution
    along the vision sequence: modalities have no order. A cross layer behind a self layer reads the x that one wrote.
    Of the K = L / 3 self layers the first n are active: n is the budget, from 0 (x is never written) to K. A node that
    has no modality is 0 and sends nothing.

    Budgets are computed by masking: an inactive layer costs the same here. `operations` says what it would cost.

    Args:
        layers: L, a multiple of 3.
        heads: divide D.
        hidden: of the feed-forward blocks, 4 D if None.
        budget: n for all nodes, K if None. Scheme `visor` draws one a step in training, then lets the policy choose a
            node's.

    Attentions: "budget" [N, K + 1], softmax of the policy with its logits as scores; "cross l" [N, H, 1, M] and
    "self l" [N, H, M], of the states on their tokens, 0 at nodes for which layer l is not active.

    Raises:
        ValueError: heads that do not divide D, L that is no multiple of 3, or a budget out of range.
    """

    info = Info(
        "Bulat et al., VISion On Request: Enhanced VLLM efficiency with sparse, dynamically selected, vision-language "
        "interactions",
        2026,
        golden="visor",
        cost="O(L (E D + N M D^2))",
        needs=("graph",),
    )
    placements = ("before", "after")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        layers: int = 6,
        heads: int = 4,
        hidden: int | None = None,
        budget: int | None = None,
        rngs: nnx.Rngs,
    ):
        check_heads("visor", dim, heads)
        if layers < 3 or layers % 3:
            raise ValueError(f"fusion 'visor': layers={layers}; expected a multiple of 3, a third of each kind")
        self.most = layers // 3
        if budget is not None and not 0 <= budget <= self.most:
            raise ValueError(f"fusion 'visor': budget={budget}; expected 0 to {self.most}, a third of layers={layers}")
        hidden = 4 * dim if hidden is None else hidden
        self.blocks = nnx.List([Block(dim, heads, hidden, rngs=rngs) for _ in range(layers)])
        self.readings = nnx.List([Reading(dim, heads, rngs=rngs) for _ in range(self.most)])
        self.codes = nnx.List([normal(rngs, (modalities, dim)) for _ in range(self.most)])
        self.policy = Policy(dim, self.most + 1, rngs=rngs)
        self.mode = nnx.BatchStat(jnp.asarray(self.most if budget is None else budget, jnp.int32))
        self.hidden, self.budget = hidden, budget

    def budgets(self, logits: Array, context: Context) -> Array:
        """n of every node, int [N], by the mode: fixed; drawn for all in training, and K in evaluation; or chosen."""
        mode = self.mode[...]
        drawn = jnp.asarray(self.most, jnp.int32)
        if context.key is not None:
            drawn = jax.random.randint(context.key, (), 0, self.most + 1, jnp.int32)
        fixed = jnp.where(mode == DRAWN, drawn, mode)
        return jnp.where(mode == CHOSEN, logits.argmax(-1).astype(jnp.int32), fixed)

    def nodes(self, x: Array, mask: Array, graph: Graph, context: Context) -> Fused:
        present, h, attention = mask.any(1), masked_mean(x, mask), []
        for i, block in enumerate(self.blocks):
            kind, turn = KINDS[i % 3], i // 3
            if kind == "cross":
                tokens = x + self.codes[turn][...].astype(x.dtype)
                z, weights = self.readings[turn](h[:, None], tokens, mask)
                attention.append(_shown(f"cross {turn + 1}", weights, ("node", "head", "query", "modality"), mask))
                h = zero_absent(z[:, 0], present)
            if kind != "self":
                h = zero_absent(block.state(h, graph, present), present)
                continue
            if turn == 0:
                logits = self.policy(h)
                budget = self.budgets(logits, context)
            active = turn < budget
            written, state, weights = block.joint(x, h, mask, graph, present)
            x = jnp.where((active[:, None] & mask)[..., None], written, x)
            h = jnp.where(active[:, None], state, block.state(h, graph, present))
            h = zero_absent(h, present)
            weights = jnp.where(active[:, None, None], weights, 0)
            attention.append(_shown(f"self {turn + 1}", weights, ("node", "head", "modality"), mask))
        chosen = Attention("budget", jax.nn.softmax(logits), ("node", "budget"), "node", "budget", scores=logits)
        return Fused(h, tokens=x, attention=(chosen, *attention))

    def operations(self, senders: float, modalities: int) -> list[float]:
        """Multiplications a node for every budget 0 ... K, with that many senders and modalities a node.

        A layer over T entries that see S costs (4 D^2 + 2 D hidden) T for its linear maps and 2 S D for its attention,
        summed over entries; a reading 2 D^2 (1 + M) + 2 M D; the policy, once, D^2 + D (K + 1).
        """
        dim = self.blocks[0].fc1.in_features
        linear, m = 4 * dim**2 + 2 * dim * self.hidden, modalities
        state = linear + 2 * (senders + 1) * dim
        read = 2 * dim**2 * (1 + m) + 2 * m * dim
        joint = linear * (m + 1) + 2 * dim * (m * (m + 1) + m + senders + 1)
        always = state * (len(self.blocks) - self.most) + read * self.most + dim * (dim + self.most + 1)
        return [always + n * joint + (self.most - n) * state for n in range(self.most + 1)]


def _shown(name: str, weights: Array, axes: tuple[str, ...], mask: Array) -> Attention:
    valid = mask.reshape(len(mask), *[1] * (weights.ndim - 2), -1)
    return Attention(name, weights, axes, "node", "modality", valid=valid, normalised=name.startswith("cross"))


def with_mode(fusion: VISOR, mode: int) -> None:
    """Sets the mode in place: a fixed budget, `DRAWN` or `CHOSEN`."""
    fusion.mode[...] = jnp.asarray(mode, jnp.int32)
