"""Attention of all nodes of a graph, biased by how many edges lie between them, of features that know their degrees.

Reference: Ying et al., "Do Transformers Really Perform Bad for Graph Representation?", NeurIPS 2021; code
microsoft/Graphormer at ac154fe, `graphormer/modules/graphormer_layers.py`, `graphormer_graph_encoder_layer.py`,
`multihead_attention.py`, `data/wrapper.py` and `data/collator.py`. Golden `graphormer`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.attention import MultiHeadAttention, attend
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import normal
from fusion_jax.nn.mlp import gelu
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.presence import reached_in_graph, there, zero_absent
from fusion_jax.nn.transformer import GLOROT
from fusion_jax.records import EVALUATION, Array, Info
from fusion_jax.structures.base import declare
from fusion_jax.structures.distances import Hops
from fusion_jax.zoo import nearest

FARS = ("hidden", "shared")
ACTIVATIONS = {"gelu": gelu, "relu": jax.nn.relu}


class Graphormer(GraphLayer):
    """h = x + z_deg, s = h + MHA(LN_1 h), y = s + W_2 gelu(W_1 LN_2 s), MHA with softmax_j(q_i . k_j / sqrt(d) + b_ij).

    b_ij = b[d(i, j)], d(i, j) is the number of edges between i and j, b one number for each head and distance, z a
    vector for each degree, the number of present nodes one edge away; edges count in both directions and once, loops
    not at all. Where the width changes, x goes through a linear map first. Ours: degrees and biases are each layer's
    own (the paper's model adds degrees at the start, and its layers share b), there is no token for the graph, which is
    the readout's business, and edges have no features. Distances are those of the whole edge set, whoever is present;
    who is absent has h = 0.

    Args:
        heads: H; divides `out`.
        hidden: width between W_1 and W_2; `out` if None, as in the paper.
        cutoff: distances below it are told apart.
        far: nodes further apart, and those without a path, do not see each other ("hidden", the authors' code), or
            share one more b ("shared", as the paper has it).
        degrees: larger ones than degrees - 1 count as that.
        norm_first: False normalises behind each step, LN_1 (h + MHA(h)) and so on, as the later code.
        activation: "gelu" or "relu".
        rate: dropout behind both steps.
        attention_rate: dropout on the attention weights.
        hidden_rate: dropout in front of W_2.
    Raises:
        ValueError: heads do not divide the width, another far or activation, hidden or degrees below 1, a cutoff below
            2 or one that the structure refuses.
    """

    info = Info(
        "Ying et al., Do Transformers Really Perform Bad for Graph Representation?",
        2021,
        pinned="authors' code",
        golden="graphormer",
        cost="O(N^2 D + N D^2)",
        needs=("graph",),
    )
    whole_block = True

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        heads: int = 4,
        hidden: int | None = None,
        cutoff: int = 20,
        far: str = "hidden",
        degrees: int = 512,
        norm_first: bool = True,
        activation: str = "gelu",
        rate: float = 0.0,
        attention_rate: float = 0.1,
        hidden_rate: float = 0.1,
        rngs: nnx.Rngs,
    ):
        name, out = "graph layer 'graphormer'", dim if out is None else out
        for option, value, known in (("far", far, FARS), ("activation", activation, tuple(ACTIVATIONS))):
            if value not in known:
                raise ValueError(f"{name}: {option}={value!r}{nearest(value, known)}; expected one of {known}")
        if heads < 1 or out % heads:
            raise ValueError(f"{name}: heads={heads} does not divide the width D={out}")
        hidden = out if hidden is None else hidden
        for option, value, least in (("hidden", hidden, 1), ("degrees", degrees, 1), ("cutoff", cutoff, 2)):
            if value < least:
                raise ValueError(f"{name}: {option}={value}, expected at least {least}")
        self.structures = (declare(name, "distances", cutoff=cutoff),)
        self.project = None if out == dim else nnx.Linear(dim, out, rngs=rngs)
        self.degree_encoder = normal(rngs, (degrees, out))
        self.spatial_pos_encoder = normal(rngs, (cutoff + (far == "shared"), heads))
        self.self_attn = MultiHeadAttention(out, heads, rate=attention_rate, kernel_init=GLOROT, rngs=rngs)
        self.fc1 = nnx.Linear(out, hidden, kernel_init=GLOROT, rngs=rngs)
        self.fc2 = nnx.Linear(hidden, out, kernel_init=GLOROT, rngs=rngs)
        self.self_attn_layer_norm, self.final_layer_norm = layer_norm(out, rngs=rngs), layer_norm(out, rngs=rngs)
        self.far, self.norm_first, self.activation = far, norm_first, activation
        self.rate, self.hidden_rate = rate, hidden_rate

    def seen(self, places: Hops, present: Array | None) -> tuple[Array, Array]:
        """Whom each place sees, present or not, bool [G, B, B], and who is present, bool [G, B]."""
        valid = places.valid
        if present is not None:
            valid = valid & jnp.append(present, False)[places.members]
        both = places.valid[:, :, None] & valid[:, None]
        return both if self.far == "shared" else both & (places.hops < self.spatial_pos_encoder.shape[0]), valid

    def bias(self, places: Hops) -> Array:
        """b [G, H, B, B]; of no meaning where nodes do not see each other."""
        table = self.spatial_pos_encoder[...]
        return jnp.moveaxis(looked_up(table.T, jnp.minimum(places.hops, table.shape[0] - 1)), 0, 1)

    def degree(self, graph: Graph, present: Array | None) -> Array:
        """int32 [N], how many nodes are there one edge away."""
        places = graph.structure(self.structures[0])
        _, valid = self.seen(places, present)
        count = ((places.hops == 1) & valid[:, None]).sum(-1, dtype=jnp.int32)
        return count[graph.graph_ids, places.local]

    def centred(self, x: Array, graph: Graph, present: Array | None) -> Array:
        """h [N, D'], 0 where not `present`."""
        degree = jnp.minimum(self.degree(graph, present), self.degree_encoder.shape[0] - 1)
        known = jax.nn.one_hot(degree, self.degree_encoder.shape[0], dtype=x.dtype) @ self.degree_encoder[...]
        return zero_absent((x if self.project is None else self.project(x)) + known, present)

    def _attend(self, h: Array, graph: Graph, present: Array | None, key: Array | None) -> Array:
        own, places = self.self_attn, graph.structure(self.structures[0])
        seen, _ = self.seen(places, present)
        rows = jnp.minimum(places.members, len(h) - 1)
        q, k, v = (own.split(part(h))[rows] for part in (own.query, own.key, own.value))
        y, _ = attend(q, k, v, seen, bias=self.bias(places), rate=own.rate, key=key)
        y = zero_absent(y[graph.graph_ids, places.local], graph.present)
        return own.out(y.reshape(len(h), -1))

    def _feed_forward(self, s: Array, key: Array | None) -> Array:
        return self.fc2(dropout(ACTIVATIONS[self.activation](self.fc1(s)), self.hidden_rate, key))

    def __call__(self, x, graph, present=None, context=EVALUATION):
        counted = there(present, graph)
        weights, first, inner, second = split_key(context.key, 4)
        h = self.centred(zero_absent(x, counted), graph, counted)
        if self.norm_first:
            attended = self._attend(self.self_attn_layer_norm(h), graph, counted, weights)
            s = h + dropout(attended, self.rate, first)
            return s + dropout(self._feed_forward(self.final_layer_norm(s), inner), self.rate, second)
        s = self.self_attn_layer_norm(h + dropout(self._attend(h, graph, counted, weights), self.rate, first))
        return self.final_layer_norm(s + dropout(self._feed_forward(s, inner), self.rate, second))

    def reached(self, present, graph):
        """Those in whose sight, over the whole edge set, somebody is present."""
        if present.ndim > 1:
            return jax.vmap(self.reached, (-1, None), -1)(present, graph)
        if self.far == "shared":
            return reached_in_graph(present, graph)
        places = graph.structure(self.structures[0])
        there_is = jnp.append(present, False)[places.members]
        heard = (there_is[:, None] & (places.hops < self.spatial_pos_encoder.shape[0])).any(-1)
        return zero_absent(heard[graph.graph_ids, places.local], graph.present)


@jax.custom_vjp
def looked_up(table: Array, ids: Array) -> Array:
    """table [H, K] at ids int [...], [H, ...]; the gradient is K masked sums, not a scatter of all pairs to K rows."""
    return table[:, ids.astype(jnp.int32)]  # indexing adds the length to negative ids: 128 is no int8


def _looked_up_bwd(saved, g):
    ids, table = saved
    axes = tuple(range(1, g.ndim))
    every = jnp.arange(table.shape[1], dtype=ids.dtype)
    return jax.lax.map(lambda k: jnp.where(ids == k, g, 0).sum(axes), every).T, np.zeros(ids.shape, jax.dtypes.float0)


looked_up.defvjp(lambda table, ids: (looked_up(table, ids), (ids, table)), _looked_up_bwd)
