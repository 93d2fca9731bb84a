"""The record every data set becomes, and the one place where it is validated."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

import jraph
import numpy as np
import scipy.sparse as sp

from fusion_jax.types import Graph, Target, check_edges


@dataclasses.dataclass(frozen=True)
class Split:
    """Row numbers (of nodes, or of graphs) in three disjoint, sorted int arrays."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


@dataclasses.dataclass(frozen=True)
class Splits:
    """How a seed's split comes about.

    Attributes:
        draw: split seed -> Split.
        fixed: true where all seeds get the same split.
        rule: in words, for the report ("2 training labels a class, ...").
    """

    draw: Callable[[int], Split]
    fixed: bool
    rule: str


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where a data set comes from: source (paper, repository and commit), licence, and the sha256 of its contents."""

    source: str
    licence: str
    checksum: str = ""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A graph whose nodes carry modalities, on the host (NumPy), validated when it is made.

    Attributes:
        name: the file's name.
        features: {modality: [N, d_m]} float32, or SciPy CSR for bags of words; the order is the order of M.
        mask: bool [N, M], true where the node has the modality.
        graphs: {name: jraph.GraphsTuple} of NumPy arrays, edges sorted by receiver; made by `edge_set`.
        target: what is to be predicted, NumPy arrays.
        splits: how seeds are split.
        provenance: source, licence, checksum.
        class_names: [C] or ().
        setting: "transductive" or "inductive", the usual one of this set; a config may choose the other.
        default_graph: name of the edge set studies use unless they say otherwise.
    Raises:
        ValueError: anything inconsistent; names the data set, the field, the row, the value and what was expected.
    """

    name: str
    features: dict[str, np.ndarray | sp.csr_matrix]
    mask: np.ndarray
    graphs: dict[str, jraph.GraphsTuple]
    target: Target
    splits: Splits
    provenance: Provenance
    class_names: tuple[str, ...] = ()
    setting: str = "transductive"
    default_graph: str = ""

    def __post_init__(self):
        validate(self)
        if not self.provenance.checksum:
            object.__setattr__(
                self, "provenance", dataclasses.replace(self.provenance, checksum=checksum(self))
            )

    @property
    def num_nodes(self) -> int:
        return self.mask.shape[0]

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.features)

    def split(self, seed: int) -> Split:
        """The split of one seed, validated.

        Raises:
            ValueError: rows out of range or in two parts, an empty part, or a class without a training row.
        """
        split = self.splits.draw(seed)
        check_split(self, split, seed)
        return split

    def graph(self, name: str | None = None, views: tuple[str, ...] = ()) -> Graph | None:
        """The named edge set (the default one if None) as a device `Graph`; `views` names one a modality.

        Raises:
            ValueError: no such edge set.
        """
        name = self.default_graph if name is None else name
        if not name:
            return None
        return self._graph(name, tuple(self._graph(v) for v in views))

    def _graph(self, name: str, views: tuple[Graph, ...] = ()) -> Graph:
        from fusion_jax.zoo import nearest

        if name not in self.graphs:
            raise ValueError(
                f"data set {self.name!r} has no edge set {name!r}{nearest(name, self.graphs)}; "
                f"it has: {', '.join(self.graphs) or 'none'}"
            )
        g = self.graphs[name]
        return Graph.create(g.senders, g.receivers, g.n_node, g.edges or {}, views)


def edge_set(
    senders: np.ndarray,
    receivers: np.ndarray,
    num_nodes: int | np.ndarray,
    edges: dict[str, np.ndarray] | None = None,
) -> jraph.GraphsTuple:
    """A host edge set sorted by receiver, then sender; ids must lie in [0, N).

    Args:
        num_nodes: N, or the node counts [G] of a batch of graphs.
        edges: arrays [E, ...]: ``weight``, ``features``, ``time``.
    Raises:
        ValueError: ids out of range, lengths that differ.
    """
    n_node = np.atleast_1d(np.asarray(num_nodes, np.int32))
    senders, receivers = np.asarray(senders), np.asarray(receivers)
    edges = {k: np.asarray(v) for k, v in (edges or {}).items()}
    check_edges(senders, receivers, int(n_node.sum()), edges, "edge_set")
    order = np.lexsort((senders, receivers))
    senders, receivers = senders[order].astype(np.int32), receivers[order].astype(np.int32)
    graph_of = np.repeat(np.arange(n_node.size), n_node)[receivers] if receivers.size else receivers
    n_edge = np.bincount(graph_of, minlength=n_node.size).astype(np.int32)
    return jraph.GraphsTuple(
        nodes=None, edges={k: v[order] for k, v in edges.items()} or None, receivers=receivers, senders=senders,
        globals=None, n_node=n_node, n_edge=n_edge,
    )  # fmt: skip


def validate(d: Dataset) -> None:
    """Raises ValueError unless the record is consistent (see `Dataset`)."""

    def fail(field: str, found: str, expected: str):
        raise ValueError(f"data set {d.name!r}, field {field}: {found}; expected {expected}")

    if d.mask.ndim != 2 or d.mask.dtype != bool:
        fail("mask", f"{d.mask.dtype} {d.mask.shape}", "bool [N, M]")
    n, m = d.mask.shape
    if n == 0 or m == 0:
        fail("mask", f"shape {d.mask.shape}", "at least one node and one modality")
    if len(d.features) != m:
        fail("features", f"{len(d.features)} modalities ({', '.join(d.features)})", f"{m}, the columns of mask")
    for i, (name, x) in enumerate(d.features.items()):
        field = f"features[{name!r}]"
        if x.ndim != 2 or x.shape[0] != n:
            fail(field, f"shape {x.shape}", f"[{n}, d], one row a node")
        if x.dtype != np.float32:
            fail(field, f"dtype {x.dtype}", "float32")
        if sp.issparse(x):
            rows, values = x.tocoo().row, x.data
            bad = np.flatnonzero(~np.isfinite(values) & d.mask[rows, i])
            bad = [(rows[b], values[b]) for b in bad[:1]]
        else:
            at = np.argwhere(~np.isfinite(x) & d.mask[:, i : i + 1])
            bad = [(r, x[r, c]) for r, c in at[:1]]
        for row, value in bad:
            fail(field, f"row {row} holds {value}", "finite values wherever mask is true")
    for name, g in d.graphs.items():
        if int(np.sum(g.n_node)) != n:
            fail(f"graphs[{name!r}]", f"{int(np.sum(g.n_node))} nodes", f"{n}")
        check_edges(g.senders, g.receivers, n, g.edges or {}, f"data set {d.name!r}, graphs[{name!r}]")
        if np.any(np.diff(g.receivers) < 0):
            row = int(np.flatnonzero(np.diff(g.receivers) < 0)[0])
            fail(f"graphs[{name!r}]", f"receivers not sorted at row {row}", "edges sorted by receiver (use edge_set)")
        for key, value in (g.edges or {}).items():
            bad = np.argwhere(~np.isfinite(value))
            if bad.size:
                fail(f"graphs[{name!r}].edges[{key!r}]", f"row {bad[0][0]} is not finite", "finite values")
    if d.default_graph and d.default_graph not in d.graphs:
        fail("default_graph", repr(d.default_graph), f"one of {sorted(d.graphs)}")
    if d.setting not in ("transductive", "inductive"):
        fail("setting", repr(d.setting), "'transductive' or 'inductive'")
    _validate_target(d, fail)


def _validate_target(d: Dataset, fail) -> None:
    t = d.target
    rows = d.num_nodes
    if t.level == "graph":
        counts = {len(g.n_node) for g in d.graphs.values()}
        if len(counts) != 1:
            fail("target", "labels of graphs", "edge sets with one common number of graphs")
        rows = counts.pop()
    if len(t) != rows:
        fail("target", f"{len(t)} rows", f"{rows}, one a {t.level}")
    if t.kind == "classes":
        if not np.issubdtype(np.asarray(t.labels).dtype, np.integer):
            fail("target.labels", f"dtype {t.labels.dtype}", "integers")
        bad = np.flatnonzero((t.labels < 0) | (t.labels >= t.num_outputs))
        if bad.size:
            fail("target.labels", f"row {bad[0]} holds {t.labels[bad[0]]}", f"a class in [0, {t.num_outputs})")
    elif t.kind == "values":
        if t.values.ndim != 2 or not np.isfinite(t.values).all():
            fail("target.values", f"shape {t.values.shape}, or not finite", "finite [N, K]")
    elif t.kind == "survival":
        bad = np.flatnonzero(~(np.isfinite(t.time) & (t.time > 0)))
        if bad.size:
            fail("target.time", f"row {bad[0]} holds {t.time[bad[0]]}", "finite times > 0")
        if t.event.dtype != bool or t.event.shape != t.time.shape:
            fail("target.event", f"{t.event.dtype} {t.event.shape}", f"bool {t.time.shape}")
        if not t.event.any():
            fail("target.event", "no event at all", "at least one event (all rows are censored)")
    else:
        fail("target.kind", repr(t.kind), "'classes', 'values' or 'survival'")


def check_split(d: Dataset, split: Split, seed: int) -> None:
    """Raises ValueError unless the parts are disjoint, in range, not empty, and training sees every class."""
    where = f"data set {d.name!r}, split of seed {seed}"
    rows = len(d.target)
    owner = np.full(rows, -1)
    for i, part in enumerate(("train", "val", "test")):
        ids = np.asarray(getattr(split, part))
        if ids.size == 0:
            raise ValueError(f"{where}: the {part} part is empty; expected at least one row")
        bad = ids[(ids < 0) | (ids >= rows)]
        if bad.size:
            raise ValueError(f"{where}: {part} holds row {bad[0]}; expected rows in [0, {rows})")
        taken = ids[owner[ids] >= 0]
        if taken.size:
            other = ("train", "val", "test")[owner[taken[0]]]
            raise ValueError(f"{where}: row {taken[0]} is in both {other} and {part}; expected disjoint parts")
        owner[ids] = i
    if d.target.kind == "classes":
        missing = np.setdiff1d(np.arange(d.target.num_outputs), d.target.labels[split.train])
        if missing.size:
            raise ValueError(f"{where}: class {missing[0]} has no training row ({missing.size} such classes)")


def checksum(d: Dataset) -> str:
    """sha256 over features, mask, edges and targets."""
    digest = hashlib.sha256()

    def add(name, array):
        if array is None:
            return
        if sp.issparse(array):
            for part in ("data", "indices", "indptr"):
                add(f"{name}.{part}", getattr(array, part))
            return
        array = np.ascontiguousarray(array)
        digest.update(f"{name}:{array.dtype}:{array.shape}".encode())
        digest.update(array.tobytes())

    for name, x in d.features.items():
        add(name, x)
    add("mask", d.mask)
    for name, g in sorted(d.graphs.items()):
        add(f"{name}.senders", g.senders)
        add(f"{name}.receivers", g.receivers)
        add(f"{name}.n_node", g.n_node)
        for key, value in sorted((g.edges or {}).items()):
            add(f"{name}.{key}", value)
    for field in ("labels", "values", "time", "event"):
        add(field, getattr(d.target, field))
    return digest.hexdigest()
