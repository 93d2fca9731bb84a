"""Attention among the nodes that have a modality before it is fused, and groups of them masked for regression.

Reference: Xue et al., "Probing Inter-modality: Visual Parsing with Self-Attention for Vision-and-Language
Pre-training", NeurIPS 2021 (arXiv 2106.13488). There is no code, and no source that can be read says how many tokens
are masked from which seed: golden `probing-inter-modality` holds the project's own rule.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.graphs import Graph
from fusion_jax.nn.init import normal
from fusion_jax.nn.masked_groups import AXIS, PAPER, groups, received
from fusion_jax.nn.mlp import gelu
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.presence import reached, sending, there
from fusion_jax.nn.segment import edge_attend
from fusion_jax.records import EVALUATION, Array, Attention, Context, Info, Tokens


class ProbingInterModality(Encoder):
    """Visual parsing: y = LN(W z + b) of one attention layer over the neighbours that have the modality.

        t = W_e x + b_e;  s = t + W_o concat_h(sum_j a_ij,h v_j,h) + b_o;  z = s + W_2 gelu(W_1 LN2(s) + b_1) + b_2
        a_ij,h = softmax over j of q_i,h . k_j,h / sqrt(D / H), with q, k, v linear in LN1(t); j = i and its senders

    In training nodes are seeds, each with probability `rate`. A seed and the k of its senders to which it attends most
    (mean of a over heads; k = `share` of those it has, at least 1) stand behind the encoder as one learned vector; what
    they would be, without gradient, is shown as the state "masked feature" for the loss `probing_inter_modality`.

    The paper has a Swin transformer over image patches, one seed an image and, as far as is known, masks by attention
    too. Ours: one layer, tokens are nodes, neighbours are windows; `rate`, `share` and that groups of several seeds may
    overlap. Whatever a masked node has told its neighbours in this layer stays with them.

    Args:
        heads: H, divides D.
        hidden: width between W_1 and W_2, 4 D if None.
        rate: of seeds. About three nodes a seed at degree five: the default masks about 15 %. 0 masks none.
        share: of the senders of a seed that are masked with it.
    Raises:
        ValueError: heads do not divide D, or a rate or share outside of 0 to 1.
    """

    info = Info(PAPER, 2021, golden="probing-inter-modality", cost="O(N d D + N D^2 + E (D + log E))", needs=("graph",))

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        heads: int = 4,
        hidden: int | None = None,
        rate: float = 0.05,
        share: float = 0.4,
        rngs: nnx.Rngs,
    ):
        if heads < 1 or dim % heads:
            raise ValueError(
                f"encoder 'probing_inter_modality': heads={heads} do not divide the width D={dim}; expected a divisor"
            )
        for name, value in (("rate", rate), ("share", share)):
            if not 0 <= value <= 1:
                raise ValueError(f"encoder 'probing_inter_modality': {name}={value}, expected a number from 0 to 1")
        hidden = 4 * dim if hidden is None else hidden

        def linear(i, o):
            return nnx.Linear(i, o, rngs=rngs)

        self.embed = linear(in_dim, dim)
        self.query, self.key, self.value, self.out = (linear(dim, dim) for _ in range(4))
        self.linear1, self.linear2 = linear(dim, hidden), linear(hidden, dim)
        self.project = linear(dim, dim)
        self.norm1, self.norm2, self.norm = (layer_norm(dim, rngs=rngs) for _ in range(3))
        self.mask_vector = normal(rngs, (dim,))
        self.heads, self.rate, self.share = heads, rate, share

    def parse(self, x: Array, graph: Graph, present: Array | None = None) -> tuple[Array, Array]:
        """y [N, D] of all nodes, none of them masked, and the weights a [E', H] along `graph.looped`."""
        t = self.embed(x)
        loops = graph.looped
        q, k, v = (f(self.norm1(t)).reshape(len(t), self.heads, -1) for f in (self.query, self.key, self.value))
        seen, weights = edge_attend(q, k, v, loops, sending(there(present, graph), loops))
        s = t + self.out(seen.reshape(t.shape))
        z = s + self.linear2(gelu(self.linear1(self.norm2(s))))
        return self.norm(self.project(z)), weights

    def masked(self, weights: Array, graph: Graph, present: Array | None, context: Context) -> Array:
        """bool [N], the nodes that are masked in this step of training."""
        here = jnp.ones(graph.num_nodes, bool) if (some := there(present, graph)) is None else some
        if context.key is None or not self.rate:
            return jnp.zeros_like(here)
        seeds = here & jax.random.bernoulli(context.key, self.rate, here.shape)
        loops = graph.looped
        guide = jnp.where(here[loops.senders], jax.lax.stop_gradient(weights).mean(1), -jnp.inf)
        guide = jnp.where(loops.senders == loops.receivers, -jnp.inf, guide)
        others = received(jnp.isfinite(guide), loops)
        count = jnp.floor(self.share * others.astype(jnp.float32) + 1e-4)  # 0.7 of 10 is 7 in float32 too
        return groups(seeds, guide, loops, jnp.maximum(count, 1).astype(jnp.int32))

    def attention(self, x, graph, present, context):
        del context
        weights, loops = self.parse(x, graph, present)[1], graph.looped
        sent = sending(there(present, graph), loops)
        valid = None if sent is None else sent[:, None]
        ends = dict(senders=loops.senders, receivers=loops.receivers, valid=valid)
        return (Attention("parsing", weights, ("edge", "head"), "node", "node", **ends),)

    def states(self, x, graph, present, context):
        """What masked nodes would be, y [N, 1, D] without gradient; nothing is masked in evaluation."""
        y, weights = self.parse(x, graph, present)
        mask = self.masked(weights, graph, present, context)
        return (Tokens(AXIS, jax.lax.stop_gradient(y)[:, None], mask[:, None], AXIS),)

    def reached(self, present, graph):
        return reached(present, graph)

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        y, weights = self.parse(x, graph, present)
        mask = self.masked(weights, graph, present, context)
        return jnp.where(mask[:, None], self.mask_vector[...].astype(y.dtype), y)
