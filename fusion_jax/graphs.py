"""Edge sets: on the host validated and sorted, on the device with the orders derived from them."""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from fusion_jax.arrays import lost_column, numbers, one_column, refuse
from fusion_jax.parted import Parted

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Graph:
    """One edge set over the N nodes, on the device, with the orders derived from it.

    Edges are sorted by receiver; an edge carries a message from its sender to its receiver.
    Build one with `Graph.create`, which validates the ids on the host: inside a compiled program an
    id out of range is silently clamped or dropped.

    Attributes:
        jraph: the `jraph.GraphsTuple`; ``edges`` is a dict of arrays [E, ...] (``weight`` [E],
            ``features`` [E, F], ``time`` [E]), any of which may be absent.
        row_ptr: int32 [N + 1]; the edges received by node i are row_ptr[i]:row_ptr[i + 1].
        by_sender: int32 [E]; the edge ids sorted by sender (the reverse order, for transposes).
        sender_ptr: int32 [N + 1]; row pointers of that reverse order.
        views: one more `Graph` a modality, or () where the modalities share this one.
        looped: the same edges with exactly one loop a node (loops that were there are dropped first; a new
            loop has weight 1 and zeros in the other edge arrays). None on a looped graph itself.
        present: bool [N], false at rows that stand for no node (inductive training keeps the rows of nodes that
            are yet to come, without edges); averages and attention over a graph leave them out. None: all are there.
        derived: what mechanisms need that was made from this edge set on the host, by the string of its declaration
            (see `structures.base.derive`).
        pairs: int32 [R, 2], the pairs of nodes that are the rows of the target, which readouts of links read; or None.
        parted: what every device holds where the nodes are shared out over devices (`training.parting`); or None.
        largest: node count of the largest graph of the batch, known while compiling.
        stands_for: float [E], how many edges of a whole graph each edge of a part of it stands for, 0 for one that is
            not there; all sums over edges (`nn.segment`) count it so often. None: every edge is itself.
        strength: float [N], the sum of the weights that each node receives in the whole graph, of a part of it (of
            `looped`: with its loop); for layers that normalise by what senders receive. None: it is what is here.
        inner: of a sampled neighbourhood the same without its outermost nodes, which only send (they have none of
            their own senders here): what the model goes on with behind a graph layer. None elsewhere.
    """

    jraph: jraph.GraphsTuple
    row_ptr: Array
    by_sender: Array
    sender_ptr: Array
    views: tuple[Graph, ...] = ()
    looped: Graph | None = None
    present: Array | None = None
    derived: dict[str, Any] = dataclasses.field(default_factory=dict)
    pairs: Array | None = None
    parted: Parted | None = None
    stands_for: Array | None = None
    strength: Array | None = None
    inner: Graph | None = None
    largest: int = dataclasses.field(default=0, metadata=dict(static=True))

    @property
    def senders(self) -> Array:  # [E]
        return self.jraph.senders

    @property
    def receivers(self) -> Array:  # [E], non-decreasing
        return self.jraph.receivers

    @property
    def edges(self) -> dict[str, Array]:
        return self.jraph.edges or {}

    @property
    def num_nodes(self) -> int:
        return self.row_ptr.shape[0] - 1

    @property
    def num_edges(self) -> int:
        return self.jraph.senders.shape[0]

    @property
    def num_graphs(self) -> int:
        return self.jraph.n_node.shape[0]

    @property
    def graph_ids(self) -> Array:  # [N], the graph each node belongs to
        return jnp.repeat(jnp.arange(self.num_graphs), self.jraph.n_node, total_repeat_length=self.num_nodes)

    def view(self, m: int) -> Graph:
        """The edge set modality m works on."""
        return self.views[m] if self.views else self

    def structure(self, declared: Any) -> Any:
        """The record of a declared structure (`structures.base.Structure`).

        Raises:
            ValueError: it was not made for this edge set; lists those that were.
        """
        key = str(declared)
        if key not in self.derived:
            raise ValueError(
                f"structure {key} was not made for this edge set (there are: {', '.join(self.derived) or 'none'}); "
                f"a mechanism declares what it needs in `structures`"
            )
        return self.derived[key]

    @classmethod
    def create(
        cls,
        senders: np.ndarray,
        receivers: np.ndarray,
        num_nodes: int | np.ndarray,
        edges: dict[str, np.ndarray] | None = None,
        views: tuple[Graph, ...] = (),
        *,
        looped: bool = True,
    ) -> Graph:
        """Sorts edges by receiver (then sender) and derives the CSR pointers and the reverse order.

        Args:
            senders, receivers: integer [E], each in [0, N).
            num_nodes: N, or the node counts [G] of a batch of G graphs (nodes of a graph are contiguous).
            edges: arrays with leading axis E (``weight``, ...: see `check_edges`); they are put in the new order too.
            views: edge sets of the single modalities, over the same nodes.
            looped: whether to derive the version with self-loops too.
        Raises:
            ValueError: an id out of range or negative, lengths that differ, or edge arrays that `check_edges` refuses;
                names the field and row.
        """
        n_node = node_counts(num_nodes, "graph")
        n = int(n_node.sum())
        senders, receivers = np.asarray(senders), np.asarray(receivers)
        edges = check_edges(senders, receivers, n, {} if edges is None else edges)
        order = np.lexsort((senders, receivers))
        senders, receivers = senders[order].astype(np.int32), receivers[order].astype(np.int32)
        edges = {k: v[order] for k, v in edges.items()}
        ends = np.cumsum(n_node)
        graph_of = np.searchsorted(ends, np.arange(n), side="right")
        crossing = np.flatnonzero(graph_of[senders] != graph_of[receivers]) if n else np.array([], int)
        if crossing.size:
            e = crossing[0]
            raise ValueError(
                f"edge {senders[e]} -> {receivers[e]} joins two graphs of the batch "
                f"({graph_of[senders[e]]} and {graph_of[receivers[e]]})"
            )
        n_edge = np.bincount(graph_of[receivers], minlength=n_node.size).astype(np.int32)
        by_sender = np.lexsort((receivers, senders)).astype(np.int32)

        def pointers(ids):
            return jnp.asarray(np.concatenate([[0], np.cumsum(np.bincount(ids, minlength=n))]), jnp.int32)

        tuple_ = jraph.GraphsTuple(
            nodes=None,
            edges={k: jnp.asarray(v) for k, v in edges.items()} or None,
            receivers=jnp.asarray(receivers),
            senders=jnp.asarray(senders),
            globals=None,
            n_node=jnp.asarray(n_node),
            n_edge=jnp.asarray(n_edge),
        )
        with_loops = _with_loops(senders, receivers, n_node, edges) if looped else None
        return cls(
            tuple_,
            pointers(receivers),
            jnp.asarray(by_sender),
            pointers(senders),
            tuple(views),
            with_loops,
            largest=int(n_node.max(initial=0)),
        )


def _with_loops(senders, receivers, n_node, edges) -> Graph:
    keep = senders != receivers
    loops = np.arange(int(n_node.sum()), dtype=senders.dtype)
    new = {}
    for name, value in edges.items():
        fill = np.ones if name == "weight" else np.zeros
        new[name] = np.concatenate([value[keep], fill((loops.size, *value.shape[1:]), value.dtype)])
    senders, receivers = np.concatenate([senders[keep], loops]), np.concatenate([receivers[keep], loops])
    return Graph.create(senders, receivers, n_node, new, looped=False)


def node_counts(num_nodes: Any, where: str) -> np.ndarray:
    """N, or the node counts [G] of a batch of graphs, as int32 [G].

    Raises:
        ValueError: counts that are no integers >= 0.
    """
    counts = np.atleast_1d(np.asarray(num_nodes))
    if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer) or np.any(counts < 0):
        refuse(where, f"num_nodes is {num_nodes!r}", "N, or the counts [G] of a batch, integers >= 0")
    return counts.astype(np.int32)


def check_edges(
    senders: np.ndarray, receivers: np.ndarray, num_nodes: int, edges: dict, where: str = "graph", floats: Any = None
) -> dict[str, np.ndarray]:
    """The arrays of the edges as layers read them; raises ValueError where ids or arrays are not what they must be.

    ``weight`` and ``time`` are [E] (one column [E, 1] is taken as that), ``features`` [E, F] (a vector is taken as one
    column); these three become float32 where they are booleans or integers. A weight is a strength, >= 0: what
    normalises by sums of weights is not defined for both signs (|w|, max(w, 0), or one edge set a sign are).

    Args:
        floats: the dtype that floats are put into; their own if None.
    Raises:
        ValueError: ids outside [0, num_nodes), lengths that differ, other shapes, values that are not finite, a
            negative weight; names the field, the row and the value.
    """
    if senders.shape != receivers.shape or senders.ndim != 1:
        raise ValueError(
            f"{where}: senders {senders.shape} and receivers {receivers.shape} must be two vectors of one length"
        )
    for field, ids in (("senders", senders), ("receivers", receivers)):
        if ids.size and not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"{where}: {field} must be integers, found {ids.dtype}")
        bad = np.flatnonzero((ids < 0) | (ids >= num_nodes))
        if bad.size:
            raise ValueError(
                f"{where}: {field}[{bad[0]}] is {ids[bad[0]]}, expected a node id in [0, {num_nodes})"
                f" ({bad.size} such ids)"
            )
    if not isinstance(edges, Mapping):
        refuse(f"{where}.edges", type(edges).__name__, "a dictionary {name: array [E, ...]}")
    return {name: _edge_array(name, value, len(senders), where, floats) for name, value in edges.items()}


_EDGE_SHAPES = {"weight": "[E]", "time": "[E]", "features": "[E, F]"}  # of those that layers read


def _edge_array(name: str, value: Any, count: int, where: str, floats: Any) -> np.ndarray:
    at, shape = f"{where}.edges[{name!r}]", _EDGE_SHAPES.get(name)
    if shape is None and (like := difflib.get_close_matches(str(name), _EDGE_SHAPES, 1, 0.7)):
        warnings.warn(f"{at}: no layer reads an edge array of this name (did you mean {like[0]!r}?)", stacklevel=4)
    given = numbers(value, at, f"numbers {shape or '[E, ...]'}")
    if given.ndim == 0 or len(given) != count:
        rows = "no rows" if given.ndim == 0 else f"{len(given)} rows"
        raise ValueError(f"{where}: edges[{name!r}] has {rows}, expected {count} (one an edge)")
    if shape is None and given.dtype.kind != "f":
        if given.dtype != bool and given.size and not -(2**31) <= int(given.min()) <= int(given.max()) < 2**31:
            refuse(at, f"integers from {given.min()} to {given.max()}", "integers of 32 bits")
        return given
    if shape == "[E]":
        given = one_column(given)
    elif shape == "[E, F]" and given.ndim == 1:
        given = given[:, None]
    if shape is not None and (given.ndim != len(shape.split(",")) or given.shape[1:] == (0,)):
        refuse(at, f"shape {given.shape}", f"{shape} with E = {count}")
    with np.errstate(over="ignore"):
        array = given.astype(floats or (given.dtype if given.dtype.kind == "f" else np.float32))
        held = array.astype(jax.dtypes.canonicalize_dtype(array.dtype))  # on the device: float32 unless x64 is on
    bad = np.argwhere(~np.isfinite(held))
    if bad.size:
        refuse(at, f"row {bad[0][0]} is not finite ({given[tuple(bad[0])]})", f"finite values ({held.dtype})")
    if shape is not None and held.dtype == np.float32:
        if (column := lost_column(given if given.ndim == 2 else given[:, None])) is not None:
            refuse(at, f"column {column} varies by less than float32 can tell at its size", "a nearer origin")
    if name == "weight" and np.any(array < 0):
        row = int(np.argmax(array < 0))
        refuse(at, f"row {row} holds {array[row]} ({int((array < 0).sum())} negative)", "weights >= 0")
    return array
