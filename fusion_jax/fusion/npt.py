"""Attention in turn between the nodes and between the modalities of a node, the label being one more modality.

Reference: Kossen, Band, Lyle, Gomez, Rainforth and Gal, "Self-Attention Between Datapoints: Going Beyond Individual
Input-Output Pairs in Deep Learning", 2021 (arXiv 2106.02584); code OATML/non-parametric-transformers at a399360
(`npt/model`, `npt/mask.py`, `npt/loss.py`). Golden `npt`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import attend
from fusion_jax.nn.dropout import dropout, keep_mask, split_key
from fusion_jax.nn.init import normal, stack
from fusion_jax.nn.mlp import MLP, gelu
from fusion_jax.nn.norm import layer_norm
from fusion_jax.nn.presence import reached, reached_in_graph, sending, zero_absent
from fusion_jax.nn.segment import edge_attend
from fusion_jax.nn.within_graph import attend_within
from fusion_jax.records import Array, Attention, Context, Fused, Info
from fusion_jax.zoo import nearest

OVER = ("nodes", "edges")
SHOWN = ("classes", "labels", "values")  # the tasks of which a row is one vector
Look = Callable[..., tuple[Array, Array | None]]  # q, k, v [..., T or L, H, d], rate, key -> out, weights


class MAB(nnx.Module):
    """h = W_mix concat_h(softmax(q_h k_h^T / sqrt(K)) v_h) + W_res x; out = h + FF(LN1 h), FF = W2 gelu(W1 .).

    q = W_q LN0(x), k = W_k y, v = W_v y: keys and values are not normalised, the scale is that of the whole width K of
    y, and the residual is a linear map of its own. With `norm_first` false q = W_q x, and LN0 and LN1 stand behind the
    two sums.

    Args:
        dim, key_dim, out: widths of x, y (that of x if None) and out (that of x if None).
        heads: H, divides `out`.
        rate: dropout on the attention weights, behind W_mix and gelu, and behind W2.
    """

    def __init__(
        self,
        dim: int,
        key_dim: int | None = None,
        out: int | None = None,
        *,
        heads: int,
        norm_first: bool = True,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        key_dim, out = dim if key_dim is None else key_dim, dim if out is None else out
        self.fc_q = nnx.Linear(dim, out, rngs=rngs)
        self.fc_k = nnx.Linear(key_dim, out, rngs=rngs)
        self.fc_v = nnx.Linear(key_dim, out, rngs=rngs)
        self.fc_mix_heads = nnx.Linear(out, out, rngs=rngs)
        self.fc_res = nnx.Linear(dim, out, rngs=rngs)
        self.ln0 = layer_norm(dim if norm_first else out, epsilon=1e-12, rngs=rngs)
        self.ln1 = layer_norm(out, epsilon=1e-12, rngs=rngs)
        self.rff = MLP(out, 4 * out, activation=gelu, rate=rate, rngs=rngs)
        self.heads, self.norm_first, self.rate = heads, norm_first, rate
        self.sharpness = math.sqrt(out // heads / key_dim)  # what `attend` divides by is the width of a head

    def _split(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], self.heads, -1)

    def __call__(
        self, x: Array, y: Array | None = None, *, look: Look = attend, key: Array | None = None
    ) -> tuple[Array, Array | None]:
        """x [..., T, Q], y [..., L, K] (x if None) -> [..., T, W], and the weights that `look` returns."""
        y = x if y is None else y
        weights_key, mix_key, inner, outer = split_key(key, 4)
        q = self._split(self.fc_q(self.ln0(x) if self.norm_first else x))
        k, v = self._split(self.fc_k(y)), self._split(self.fc_v(y))
        seen, weights = look(q * self.sharpness, k, v, rate=self.rate, key=weights_key)
        mixed = self.fc_mix_heads(seen.reshape(*seen.shape[:-2], -1))
        h = dropout(mixed, self.rate, mix_key) + self.fc_res(x)
        h = h if self.norm_first else self.ln0(h)
        step = self.rff(self.ln1(h) if self.norm_first else h, key=inner)
        h = h + dropout(step, self.rate, outer)
        return (h if self.norm_first else self.ln1(h)), weights


class Pair(nnx.Module):
    """A block between rows [N, T E], then one between the T columns of each row [N, T, E]."""

    def __init__(self, columns: int, dim: int, heads: int, *, norm_first: bool, rate: float, rngs: nnx.Rngs):
        self.rows = MAB(columns * dim, heads=heads, norm_first=norm_first, rate=rate, rngs=rngs)
        self.columns = MAB(dim, heads=heads, norm_first=norm_first, rate=rate, rngs=rngs)

    def __call__(self, x: Array, look: Look, key: Array | None) -> tuple[Array, tuple[Array | None, Array]]:
        first, second = split_key(key, 2)
        h, between_rows = self.rows(x.reshape(x.shape[0], -1), look=look, key=first)
        h, between_columns = self.columns(h.reshape(x.shape), key=second)
        return h, (between_rows, between_columns)


class Table(nnx.Module):
    """The model of a table of N rows and T columns, column j a vector of width H_j whose last entry is the mask bit.

    embed: W_j c_j + type of column j + place j; encode: `depth` / 2 times a `Pair`; decode: W'_j, to width H_j - 1.

    Args:
        widths: (H_1, ..., H_T).
        types: of each column 0 (numbers) or 1 (categories); without effect where all are alike, as in the code.
        dim: E.
        depth: blocks, an even number.
    """

    def __init__(
        self,
        widths: Sequence[int],
        types: Sequence[int],
        dim: int,
        *,
        depth: int,
        heads: int,
        norm_first: bool = True,
        rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        self.in_embedding = nnx.List([nnx.Linear(width, dim, rngs=rngs) for width in widths])
        self.feature_type_embedding = normal(rngs, (2, dim), 1.0) if len(set(types)) == 2 else None
        self.feature_index_embedding = normal(rngs, (len(widths), dim), 1.0)
        make = functools.partial(Pair, len(widths), dim, heads, norm_first=norm_first, rate=rate)
        self.enc = stack(lambda r: make(rngs=r), depth // 2, rngs)
        self.out_embedding = nnx.List([nnx.Linear(dim, width - 1, rngs=rngs) for width in widths])
        self.types, self.pairs = tuple(types), depth // 2

    def embed(self, columns: Sequence[Array]) -> Array:
        """Columns [N, H_j] -> [N, T, E]."""
        x = jnp.stack([embed(c) for embed, c in zip(self.in_embedding, columns, strict=True)], axis=1)
        if self.feature_type_embedding is not None:
            x = x + self.feature_type_embedding[...][jnp.asarray(self.types)]
        return x + self.feature_index_embedding[...]

    def encode(self, x: Array, look: Look, *, key: Array | None = None) -> tuple[Array, tuple[Array | None, Array]]:
        """x [N, T, E] -> the same, and the weights of the pairs of blocks; `look` is the attention between rows."""
        keys = None if key is None else jax.random.split(key, self.pairs)

        @jax.checkpoint  # else the N^2 weights of all pairs are kept for the gradient
        def step(x, pair_and_key):
            pair, key = pair_and_key
            return pair(x, look, key)

        return jax.lax.scan(step, x, (self.enc, keys))

    def decode(self, x: Array) -> list[Array]:
        """x [N, T, E] -> columns [N, H_j - 1]."""
        return [decode(x[:, j]) for j, decode in enumerate(self.out_embedding)]


class NPT(Fusion):
    """out = column M of the table X [N, M + 1, D] after `depth` blocks; M columns are modalities, the last the label.

        ABD  X, as rows of width (M + 1) D: every node attends to all of its graph    (odd blocks)
        ABA  X, as M + 1 tokens of width D: every node's columns attend to each other (even blocks)

    The blocks are `MAB`s. A cell of the table is [x_m; bit] through a linear map of the column's own, and a vector a
    column; bit = 1 and x_m = 0 where the modality is missing, or hidden in training: a cell is with probability
    `p_feature`, then it is 0 with its bit set with probability `p_zero`, else a draw from N(0, 1) without bit. The
    hidden ones are predicted from their tokens: loss "reconstruction", the mean square of the difference to what the
    fusion was given (through which no gradient flows), times t / (1 - t), t = tradeoff (1 + cos(pi step / total)) / 2.
    The paper minimises (1 - t) task + t reconstruction: the direction is that, as nothing here weighs the task's loss.

    The label's cell is masked by default (`p_mask` 1). Below 1, a training node is shown its own label (one-hot, flags,
    or values) with probability 1 - p_mask and leaves the loss of the step, and evaluation shows those of all training
    nodes; nobody is ever shown another one's as its own. The features of all nodes of a graph are seen by each other.

    Ours: a column holds a vector an encoder made, not one attribute; a node without any modality is nobody's key (it
    reads others); over="edges"; a batch of graphs, each a table of its own with the same weights. The code takes for
    random the first 1 - int(0.9 n) of the n hidden cells, a negative end and so almost all of them: here they are the
    10 % that were meant. Lookahead around LAMB, gradients clamped to [-1, 1] and the flat-then-annealed rate belong to
    the optimiser and are no part of this.

    Attention "between attributes" [N, L, H, M + 1, M + 1] is that of the L = depth / 2 ABA blocks, "between nodes"
    [E, L, H], with over="edges", that of the ABD blocks along `graph.looped`; over="nodes" its N^2 weights are not
    kept.

    Args:
        depth: blocks, an even number.
        heads: H, divides D.
        over: "nodes", ABD over all nodes of a graph; "edges", over a node's senders and itself.
        norm_first: normalise before the steps of a block, or behind their sums.
        p_mask: probability that a training node's label is masked in a step, in (0, 1].
        p_feature: of a cell to be hidden, in [0, 1); with 0 nothing is reconstructed.
        p_zero: of a hidden cell to be 0 with its bit set, in [0, 1].
        tradeoff: t at the start, in [0, 1); with 0 nothing is reconstructed.
        rate: dropout on embeddings, in the blocks (`MAB`) and before the last maps.
        outputs: C, the width of the label's cell.
    Raises:
        ValueError: an option out of its range, heads that do not divide D; a task whose labels are not to be shown.
    """

    info = Info(
        "Kossen et al., Self-Attention Between Datapoints: Going Beyond Individual Input-Output Pairs in Deep Learning",
        2021,
        pinned="authors' code",
        golden="npt",
        cost="O(N^2 M D + N M^2 D^2)",
        needs=("graph", "outputs"),
    )
    placements = ("before", "after", "interleaved")  # the heads do not divide every number of classes

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        depth: int = 8,
        heads: int = 8,
        over: str = "nodes",
        norm_first: bool = True,
        p_mask: float = 1.0,
        p_feature: float = 0.15,
        p_zero: float = 0.9,
        tradeoff: float = 0.5,
        rate: float = 0.1,
        outputs: int,
        rngs: nnx.Rngs,
    ):
        check_heads("npt", dim, heads)
        _expect(over in OVER, f"over={over!r}{nearest(over, OVER)}", f"one of {', '.join(OVER)}")
        _expect(depth >= 2 and depth % 2 == 0, f"depth={depth!r}", "an even number, 2 or more")
        _expect(0 < p_mask <= 1, f"p_mask={p_mask!r}", "a number in (0, 1]: with 0 no row is left in the loss")
        _expect(0 <= p_feature < 1, f"p_feature={p_feature!r}", "a probability below 1")
        _expect(0 <= p_zero <= 1, f"p_zero={p_zero!r}", "a probability")
        _expect(0 <= tradeoff < 1, f"tradeoff={tradeoff!r}", "a number from 0 to below 1")
        self.table = Table(
            [dim + 1] * modalities + [outputs + 1],
            [0] * modalities + [1],
            dim,
            depth=depth,
            heads=heads,
            norm_first=norm_first,
            rate=rate,
            rngs=rngs,
        )
        self.needs = ("graph", "outputs") if p_mask == 1 else ("graph", "labels", "outputs")
        self.over, self.p_mask, self.p_feature, self.p_zero = over, p_mask, p_feature, p_zero
        self.tradeoff, self.rate, self.outputs = tradeoff, rate, outputs

    def nodes(self, x, mask, graph, context):
        hide_key, label_key, embed_key, encode_key, last_key = split_key(context.key, 5)
        there = mask.any(1) if graph.present is None else mask.any(1) & graph.present
        cells, bits, hidden = self.hide(x, mask & there[:, None], hide_key)
        label, shown = self._label(x, context, label_key)
        columns = [_cell(cells[:, m], bits[:, m]) for m in range(x.shape[1])]
        known = jnp.zeros(x.shape[0], bool) if shown is None else jnp.pad(shown, (0, x.shape[0] - len(shown)))
        columns.append(_cell(label, ~known))
        h = dropout(self.table.embed(columns), self.rate, embed_key)
        look = functools.partial(_between_nodes if self.over == "nodes" else _along_edges, graph, there)
        h, weights = self.table.encode(h, look, key=encode_key)
        *rebuilt, prediction = self.table.decode(dropout(h, self.rate, last_key))
        losses = {} if hidden is None else {"reconstruction": self._error(rebuilt, x, hidden, context)}
        heard = self.reached(mask, graph)
        return Fused(
            zero_absent(h[:, -1], heard),
            h[:, :-1],
            self._attention(graph, there, *weights),
            losses,
            prediction=prediction,
            revealed=shown,
        )

    def reached(self, mask, graph):
        there = mask.any(1)
        return reached_in_graph(there, graph) if self.over == "nodes" else reached(there, graph)

    def hide(self, x: Array, mask: Array, key: Array | None) -> tuple[Array, Array, Array | None]:
        """The cells' vectors [N, M, D] and bits [N, M], and which are to be predicted, None in evaluation."""
        if key is None or not self.p_feature or not self.tradeoff:
            return x, ~mask, None
        first, second, third = jax.random.split(key, 3)
        hidden = mask & ~keep_mask(first, self.p_feature, mask.shape)
        drawn = hidden & keep_mask(second, self.p_zero, mask.shape) if self.p_zero < 1 else jnp.zeros_like(mask)
        noise = jax.random.normal(third, x.shape, x.dtype)
        cells = jnp.where(drawn[..., None], noise, jnp.where(hidden[..., None], 0, x))
        return cells, ~mask | (hidden & ~drawn), hidden

    def _label(self, x: Array, context: Context, key: Array | None) -> tuple[Array, Array | None]:
        """The labels' cells [N, C], 0 where not shown, and who is shown its own, bool [rows of the target]; None for
        nobody. Rows that stand for no row of the target, as one behind all may, have an empty cell."""
        if self.p_mask == 1:
            return jnp.zeros((x.shape[0], self.outputs), x.dtype), None
        target, shown = context.target, context.train
        if target.kind not in SHOWN:
            found = f"the task {target.kind!r}, whose labels are not shown"
            raise ValueError(f"fusion 'npt': p_mask={self.p_mask} and {found}; expected p_mask=1 or {', '.join(SHOWN)}")
        if key is not None:
            shown = shown & keep_mask(key, self.p_mask, shown.shape)
        if target.kind == "classes":
            label = jax.nn.one_hot(target.labels, self.outputs, dtype=x.dtype)
        else:
            label = getattr(target, target.kind).astype(x.dtype)
        label = jnp.where(shown[:, None], label, 0)
        return jnp.pad(label, ((0, x.shape[0] - len(label)), (0, 0))), shown

    def _error(self, rebuilt: list[Array], x: Array, hidden: Array, context: Context) -> Array:
        square = ((jnp.stack(rebuilt, axis=1) - jax.lax.stop_gradient(x)) ** 2).mean(-1)  # [N, M]
        error = jnp.where(hidden, square, 0).sum() / jnp.maximum(hidden.sum(), 1).astype(x.dtype)
        done = jnp.zeros((), x.dtype) if context.step is None else context.step.astype(x.dtype) / context.total
        t = self.tradeoff * (1 + jnp.cos(math.pi * done)) / 2
        return t / (1 - t) * error

    def _attention(self, graph: Graph, there: Array, rows: Array | None, columns: Array) -> tuple[Attention, ...]:
        """Of the weights [L, E, H] (or none) and [L, N, H, M + 1, M + 1]."""
        axes = ("node", "block", "head", "token", "token")
        found = (Attention("between attributes", jnp.swapaxes(columns, 0, 1), axes, "token", "token"),)
        if rows is None:
            return found
        ends, axes = (graph.looped.senders, graph.looped.receivers), ("edge", "block", "head")
        valid = sending(there, graph.looped)[:, None, None]
        return *found, Attention("between nodes", jnp.swapaxes(rows, 0, 1), axes, "node", "node", *ends, valid=valid)


def _cell(x: Array, bit: Array) -> Array:
    """[N, H + 1], the vector and the mask bit."""
    return jnp.concatenate([x, bit[:, None].astype(x.dtype)], axis=1)


def _between_nodes(graph: Graph, there: Array, q: Array, k: Array, v: Array, **drop) -> tuple[Array, None]:
    """Every node's look at those of its graph that are there."""
    return attend_within(q, k, v, dataclasses.replace(graph, present=there), **drop), None


def _along_edges(graph: Graph, there: Array, q: Array, k: Array, v: Array, **drop) -> tuple[Array, Array]:
    """Every node's look at itself and its senders, those that are there."""
    return edge_attend(q, k, v, graph.looped, sending(there, graph.looped), **drop)


def _expect(holds: bool, found: str, expected: str) -> None:
    if not holds:
        raise ValueError(f"fusion 'npt': {found}; expected {expected}")
