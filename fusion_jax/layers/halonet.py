"""Attention of all nodes of a part to one window: the part and its halo, the nodes that send into it.

Reference: Vaswani et al., "Scaling Local Self-Attention for Parameter Efficient Visual Backbones", CVPR 2021
(arXiv 2103.12731). No authors' code; stand-in timm 1.0.31, `layers/halo_attn.py`. Golden `halonet`.
"""

import math

import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.attention import attend
from fusion_jax.nn.init import normal, zeros
from fusion_jax.nn.parts import along_pairs, at, in_windows, of_parts
from fusion_jax.nn.presence import zero_absent
from fusion_jax.records import EVALUATION, Array, Attention, Context, Info
from fusion_jax.structures.base import declare
from fusion_jax.structures.partition import Parts
from fusion_jax.structures.windows import Halos
from fusion_jax.zoo import nearest

RELATIVE = ("none", "relation", "vector")
RELATIONS = 3  # oneself, another of the part, the halo


class Halonet(GraphLayer):
    """y_i = concat_h(sum_{j in window of i's part} a_ij v_j) W_o, a = softmax_j((q_i . k_j + r_ij) / sqrt(D / H)).

    Ours: a part of a balanced partition of the graph stands for a block of pixels, and the nodes with a directed path
    of at most `hops` edges into it for the halo around; places without a node are no keys, where the stand-in takes
    padding for keys with value 0. r_ij is of the relation of i and j, {oneself, same part, halo}, which stands for
    the offset of two pixels: 0; a learned scalar b_h of the relation; or q_i . r, r a learned vector of it, the
    paper's form. An absent node is no key.

    Args:
        heads: H, divides `out`, the width of q, k and v.
        parts: the number of parts of each graph; or "sqrt", the square root of its number of nodes.
        size: in its place the largest size of a part.
        weighted: parts cut little edge weight in the place of few edges.
        hops: edges that the halo reaches; 0 for none, attention within parts alone.
        relative: "none", "relation" (scalars) or "vector".
        scale_relative: whether r is divided by sqrt(D / H) too; the default of the stand-in is that it is not.
        rate: dropout on the attention weights.
    Raises:
        ValueError: heads do not divide the width, another `relative`, or options that the windows refuse.
    """

    info = Info(
        "Vaswani et al., Scaling Local Self-Attention for Parameter Efficient Visual Backbones",
        2021,
        pinned="stand-in",
        golden="halonet",
        cost="O(N W D + N D^2), W nodes in a window",
        needs=("graph",),
    )

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        heads: int = 4,
        parts: int | str = "sqrt",
        size: int | None = None,
        weighted: bool = False,
        hops: int = 1,
        relative: str = "none",
        scale_relative: bool = True,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        name, out = "graph layer 'halonet'", dim if out is None else out
        if heads < 1 or out % heads:
            raise ValueError(f"{name}: heads={heads} does not divide the width D={out}")
        if relative not in RELATIVE:
            raise ValueError(f"{name}: relative={relative!r}{nearest(relative, RELATIVE)}; expected one of {RELATIVE}")
        own = dict(parts=None if size is not None and parts == "sqrt" else parts, size=size, weighted=weighted)
        self.structures = declare(name, "partition", **own), declare(name, "windows", **own, hops=hops)

        def linear(width: int) -> nnx.Linear:
            return nnx.Linear(width, out, use_bias=False, rngs=rngs)

        self.query, self.key, self.value, self.proj = linear(dim), linear(dim), linear(dim), linear(out)
        each = out // heads
        self.scalars = zeros((heads, RELATIONS)) if relative == "relation" else None
        self.vectors = normal(rngs, (RELATIONS, each), each**-0.5) if relative == "vector" else None
        self.heads, self.scale_relative, self.rate = heads, scale_relative, rate

    def attend(
        self,
        q: Array,  # [N, H, d]
        k: Array,  # [N, H, d]
        v: Array,  # [N, H, e]
        parts: Parts,
        halos: Halos,
        bias: Array | None = None,
        *,
        present: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Array, Array]:
        """The attention without the projections.

        Args:
            bias: r, broadcast to [P, H, B, W]: P parts of B places, windows of W places; 0 if None.
            present: bool [N], nodes that may be seen; all if None.
        Returns:
            out [N, H, e], 0 of a node in no part, and weights [P, H, B, W].
        """
        table, scale = of_parts(parts), 1 / math.sqrt(q.shape[-1])
        if bias is not None and self.scale_relative:
            bias = bias * scale
        held = table.gather(q), in_windows(k, halos), in_windows(v, halos)
        out, weights = attend(*held, visible(halos, present), scale=scale, bias=bias, rate=self.rate, key=key)
        return table.scatter(out), weights

    def relative(self, q: Array, parts: Parts, halos: Halos) -> Array | None:
        """r [P, H, B, W] (the axis of parts may be 1), q [N, H, d]; None where there is none."""
        if self.scalars is not None:
            return chosen(self.scalars[...][:, None], relations(parts, halos)[:, None])
        if self.vectors is not None:
            return relative_logits(of_parts(parts).gather(q), self.vectors[...], relations(parts, halos))
        return None

    def _attended(self, x: Array, graph: Graph, present: Array | None, context: Context) -> tuple[Array, Array]:
        x, structures = zero_absent(x, present), [graph.structure(s) for s in self.structures]
        q, k, v = (linear(x).reshape(len(x), self.heads, -1) for linear in (self.query, self.key, self.value))
        bias = self.relative(q, *structures)
        return self.attend(q, k, v, *structures, bias, present=present, key=context.key)

    def attention(self, x, graph, present, context) -> tuple[Attention, ...]:
        """The weights [P B W, H] along the pairs of a member of a part and a node of its window."""
        del context
        parts, halos = (graph.structure(s) for s in self.structures)
        _, weights = self._attended(x, graph, present, EVALUATION)
        seen = visible(halos, present)
        return (along_pairs("attention", weights, parts.members, halos.ids, seen, len(x)),)

    def reached(self, present, graph):
        """Those who have somebody in their window, as which everybody has oneself."""
        parts, halos = (graph.structure(s) for s in self.structures)
        return at(at(present, halos.ids).any(1), parts.part)

    def __call__(self, x, graph, present=None, context=EVALUATION):
        out, _ = self._attended(x, graph, present, context)
        return self.proj(out.reshape(len(x), -1))


def visible(halos: Halos, present: Array | None) -> Array:
    """bool [P, W], the places of windows that hold a node that is `present` bool [N] (all if None)."""
    return halos.valid if present is None else halos.valid & at(present, halos.ids)


def relations(parts: Parts, halos: Halos) -> Array:
    """int32 [P, B, W]: 0 where a place of the window holds the member itself, 1 another member, 2 one of the halo."""
    itself = parts.members[:, :, None] == halos.ids[:, None]
    return jnp.where(itself, 0, jnp.where(halos.inside[:, None], 1, 2)).astype(jnp.int32)


def relative_logits(q: Array, table: Array, relation: Array) -> Array:
    """q_i . r_(relation of i and j): q [P, B, H, d], table [R, d], relation int [P, B, W] -> [P, H, B, W]."""
    return chosen(jnp.einsum("pbhd,rd->phbr", q, table), relation[:, None])


def chosen(values: Array, index: Array) -> Array:
    """values [..., R] at index int [..., W] -> [..., W], sizes of 1 broadcast; for few R, without a scatter behind."""
    found = jnp.zeros((), values.dtype)
    for r in range(values.shape[-1]):
        found = found + jnp.where(index == r, values[..., r, None], 0)
    return found
