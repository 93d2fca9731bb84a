"""A block of message passing and attention of all nodes of a graph side by side, on features that know their place.

Reference: Rampasek et al., "Recipe for a General, Powerful, Scalable Graph Transformer", NeurIPS 2022; code
rampasek/GraphGPS at 2801570, `graphgps/layer/gps_layer.py`, `encoder/kernel_pos_encoder.py` and
`encoder/laplace_pos_encoder.py`. Golden `graphgps`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.base import GraphLayer
from fusion_jax.layers.graphgps.encodings import EigenvectorEncoding, ReturnEncoding
from fusion_jax.nn.adjacency import convolve
from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.init import normal
from fusion_jax.nn.mlp import MLP
from fusion_jax.nn.norm import MaskedBatchNorm
from fusion_jax.nn.pooling import at_nodes, pool_mean
from fusion_jax.nn.presence import reached, reached_in_graph, there, zero_absent
from fusion_jax.nn.segment import propagate
from fusion_jax.nn.within_graph import attend_within
from fusion_jax.records import EVALUATION, Array, Info
from fusion_jax.structures.base import declare
from fusion_jax.zoo import nearest

LOCALS = ("gine", "gin", "gcn", "none")
NORMS = ("batch", "graph", "none")
ENCODINGS = ("random_walk", "laplacian", "none")


class Graphgps(GraphLayer):
    """y = N_3(s + W_2 relu(W_1 s)), s = N_1(h + local(h)) + N_2(h + MHA(h)), h = [W x + b, p]; N a norm.

    local is an MLP of (1 + 0) h_i + sum_j m_j over the senders, with m_j = relu(h_j + e) and a learned e ("gine", of
    graphs whose edges have no features) or h_j ("gin"); or a graph convolution ("gcn", which counts edge weights). MHA
    is attention to all present nodes of the graph. p is what the node's place says, of the whole edge set, whoever is
    present; who is absent has h = 0. Of a stack each layer has a p of its own, where the paper's model has one at the
    start (ours).

    Args:
        heads: H; divides `out`.
        local: which; "none" leaves it out.
        attention: whether there is MHA.
        norm: "batch"; "graph", over the features and the nodes of a graph at once; or "none".
        encoding: p is a map of the probabilities that a random walk is back ("random_walk"); a set function of
            eigenvectors of the Laplacian, whose signs are drawn in training ("laplacian"); or "none": h = x, through W
            where the width changes.
        pe_dim: width of p, below `out`; 7/16 of it if None (the paper's ZINC: 28 of 64).
        steps: K of the random walk.
        frequencies: how many eigenvectors.
        rate: dropout behind local, behind MHA and in both places of the feed-forward part.
        attention_rate: dropout on the attention weights.
    Raises:
        ValueError: heads do not divide the width, another local, norm or encoding, nothing to send, pe_dim outside of
            1 to out - 1, or what the structures refuse.
    """

    info = Info(
        "Rampasek et al., Recipe for a General, Powerful, Scalable Graph Transformer",
        2022,
        pinned="authors' code",
        golden="graphgps",
        cost="O(N^2 D + E D + N D^2)",
        needs=("graph",),
    )
    whole_block = True

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        heads: int = 4,
        local: str = "gine",
        attention: bool = True,
        norm: str = "batch",
        encoding: str = "random_walk",
        pe_dim: int | None = None,
        steps: int = 20,
        frequencies: int = 8,
        rate: float = 0.0,
        attention_rate: float = 0.5,
        rngs: nnx.Rngs,
    ):
        name, out = "graph layer 'graphgps'", dim if out is None else out
        for option, value, known in (
            ("local", local, LOCALS),
            ("norm", norm, NORMS),
            ("encoding", encoding, ENCODINGS),
        ):
            if value not in known:
                raise ValueError(f"{name}: {option}={value!r}{nearest(value, known)}; expected one of {known}")
        if heads < 1 or (attention and out % heads):
            raise ValueError(f"{name}: heads={heads} does not divide the width D={out}")
        if local == "none" and not attention:
            raise ValueError(f"{name}: local='none' and attention=False leave nothing that passes messages")
        pe_dim = (max(1, 7 * out // 16) if pe_dim is None else pe_dim) if encoding != "none" else 0
        if encoding != "none" and not 1 <= pe_dim < out:
            raise ValueError(f"{name}: pe_dim={pe_dim}; expected from 1 to {out - 1}, below the width D={out}")
        if encoding == "random_walk":
            self.structures = (declare(name, "random_walk", steps=steps),)
            self.encoding = ReturnEncoding(steps, pe_dim, rngs=rngs)
        elif encoding == "laplacian":
            self.structures = (declare(name, "eigenvectors", k=frequencies),)
            self.encoding = EigenvectorEncoding(pe_dim, rngs=rngs)
        else:
            self.encoding = None
        plain = encoding == "none" and out == dim
        self.linear_x = None if plain else nnx.Linear(dim, out - pe_dim, rngs=rngs)
        make_local = nnx.Linear if local == "gcn" else MLP
        self.local_model = None if local == "none" else make_local(out, out, rngs=rngs)
        self.edge = normal(rngs, (out,), 1.0) if local == "gine" else None
        self.self_attn = MultiHeadAttention(out, heads, rate=attention_rate, rngs=rngs) if attention else None

        def make_norm(wanted=True):
            known = {"batch": MaskedBatchNorm, "graph": GraphNorm}
            return known[norm](out, rngs=rngs) if wanted and norm in known else None

        self.norm1_local, self.norm1_attn = make_norm(local != "none"), make_norm(attention)
        self.norm2, self.ff = make_norm(), MLP(out, 2 * out, rate=rate, rngs=rngs)
        self.local, self.rate = local, rate

    def placed(self, x: Array, graph: Graph, counted: Array | None, key: Array | None = None) -> Array:
        """h [N, D'] of features x [N, D] and places, 0 where not `counted`."""
        h = x if self.linear_x is None else self.linear_x(x)
        if isinstance(self.encoding, ReturnEncoding):
            landing = graph.structure(self.structures[0]).landing.astype(x.dtype)
            h = jnp.concatenate([h, self.encoding(landing, counted, training=key is not None)], -1)
        elif self.encoding is not None:
            spectrum = graph.structure(self.structures[0])
            h = jnp.concatenate([h, self.encoding.of(spectrum, graph.graph_ids, x.dtype, key)], -1)
        return zero_absent(h, counted)

    def _local(self, h: Array, graph: Graph, counted: Array | None) -> Array:
        if self.local == "gcn":
            return convolve(h @ self.local_model.kernel[...], graph, "symmetric", counted) + self.local_model.bias[...]
        message = h if self.edge is None else zero_absent(jax.nn.relu(h + self.edge[...]), counted)
        return self.local_model(h + propagate(message, graph))

    def _attend(self, h: Array, graph: Graph, counted: Array | None, key: Array | None) -> Array:
        own = self.self_attn
        q, k, v = (own.split(part(h)) for part in (own.query, own.key, own.value))
        seen = dataclasses.replace(graph, present=counted)
        y = attend_within(q, k, v, seen, rate=own.rate, key=key)
        return own.out(y.reshape(len(h), -1))

    def block(self, h: Array, graph: Graph, counted: Array | None, key: Array | None = None) -> Array:
        """y [N, D'] of h [N, D'], which is 0 where not `counted`, bool [N]; with a key that of training."""
        between, weights, behind, inner, outer = split_key(key, 5)

        def normed(norm, x):
            if isinstance(norm, MaskedBatchNorm):
                return norm(x, counted, training=key is not None)
            return x if norm is None else norm(x, graph, counted)

        s = 0
        if self.local != "none":
            s = normed(self.norm1_local, h + dropout(self._local(h, graph, counted), self.rate, between))
        if self.self_attn is not None:
            attended = dropout(self._attend(h, graph, counted, weights), self.rate, behind)
            s = s + normed(self.norm1_attn, h + attended)
        return normed(self.norm2, s + dropout(self.ff(s, key=inner), self.rate, outer))

    def __call__(self, x, graph, present=None, context=EVALUATION):
        counted = there(present, graph)
        signs, rest = split_key(context.key, 2)
        h = self.placed(zero_absent(x, counted), graph, counted, signs)
        return self.block(h, graph, counted, rest)

    def reached(self, present, graph):
        return reached(present, graph) if self.self_attn is None else reached_in_graph(present, graph)


class GraphNorm(nnx.Module):
    """y = (x - mean) / sqrt(var + 1e-5) * scale + bias, mean and var over the nodes of a graph and the D features."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        del rngs
        self.scale, self.bias = nnx.Param(jnp.ones(dim, jnp.float32)), nnx.Param(jnp.zeros(dim, jnp.float32))

    def __call__(self, x: Array, graph: Graph, counted: Array | None) -> Array:
        counted = jnp.ones(len(x), bool) if counted is None else counted

        def mean(a):
            return at_nodes(pool_mean(a, counted, graph).mean(-1, keepdims=True), graph, len(x))

        centred = x - mean(x)
        return centred * jax.lax.rsqrt(mean(centred**2) + 1e-5) * self.scale[...] + self.bias[...]
