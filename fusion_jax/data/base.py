"""The record every data set becomes, and the one place where it is validated."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import jraph
import numpy as np
import scipy.sparse as sp

from fusion_jax import tasks
from fusion_jax.data import _fields
from fusion_jax.data.fingerprint import fingerprint
from fusion_jax.graphs import Graph, check_edges, node_counts
from fusion_jax.records import Target
from fusion_jax.zoo import nearest

METRICS = ("cosine", "correlation", "euclidean")  # what neighbours can be near by
IMPUTE = ("", "mean", "median")  # what fills a single value that is missing; "" where none may be


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
        rows: how many rows the rule was made for; None where it does not say. A data set of another number refuses it.
        exchangeable: validation and test rows are drawn alike, so that which of them a row is in is chance: what is
            calibrated on the one holds on the other. False where the rule does not say so (groups, times, as many rows
            of every class, published parts).
    """

    draw: Callable[[int], Split]
    fixed: bool
    rule: str
    rows: int | None = None
    exchangeable: bool = False


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where a data set comes from.

    Attributes:
        source: paper, repository and commit.
        licence: as stated there.
        checksum: sha256 that names the contents. A set made from files gives that of the files, which is the
            same on every machine (features computed from them may differ in the last bit); "" is replaced by
            the sha256 of the arrays.
        of_arrays: the checksum is that of the arrays, and is taken again when a copy is made with other arrays.
    """

    source: str
    licence: str
    checksum: str = ""
    of_arrays: bool = False


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a data set holds with its default options, for the list of data sets: known without loading it."""

    nodes: int
    modalities: dict[str, int]  # {name: width}
    classes: int
    graphs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """How an edge set is made from features: what the inductive setting makes again from the nodes that are there.

    Attributes:
        k: neighbours a node chooses, on standardised features.
        groups: of modality names. Those of a group stand side by side and give one graph, among the nodes that have
            one of them (0 where a modality is missing); several groups give the union of their graphs.
        metric: "cosine", "correlation" or "euclidean": what is near, see `graphs.knn`.
        mutual: an edge where both choose each other, not where either does.
        fused: the groups, of one modality each, give one graph by similarity network fusion, see `graphs.fused`;
            distances are Euclidean.
    """

    k: int
    groups: tuple[tuple[str, ...], ...]
    metric: str = "cosine"
    mutual: bool = False
    fused: bool = False


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A graph whose nodes carry modalities, on the host (NumPy), converted and validated when it is made.

    What is said below is what the record holds. Where the meaning is plain, other forms can be given (`_fields`):
    lists, tables and tensors for arrays; any SciPy format; float64 and integers for float32; 0 and 1 for a bool; one
    column [N, 1] for a vector. Rows of a table count in their order, its index is not read.

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
        made: {name of an edge set: how it is made from features}. The others are given, with the nodes: in the
            inductive setting training keeps their edges among the nodes it sees.
        columns: {modality: names of its columns}, of those whose tables had names.
        ids: strings [N], each once, what the nodes are called where they come from; None where rows have numbers only.
        labelled: bool [N], false at nodes whose target is not known: in the graph, in no split, their target anything
            that is valid. None where all are known.
        impute: "mean" or "median": single values of a modality that a node has may be missing (NaN, in dense arrays),
            and are filled per seed from its training rows (`data.imputation`). "": a NaN there is an error.
        conversion: what was joined, dropped and doubtful where it was made from tables; compares equal to any other.
    Raises:
        ValueError: anything inconsistent; names the data set, field, row, value and what was expected.
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
    made: dict[str, Neighbours] = dataclasses.field(default_factory=dict)
    columns: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    ids: np.ndarray | None = None
    labelled: np.ndarray | None = None
    impute: str = ""
    conversion: Any = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self):
        for field, value in _fields.converted(self).items():
            object.__setattr__(self, field, value)
        validate(self)
        if not self.provenance.checksum or self.provenance.of_arrays:
            known = dataclasses.replace(self.provenance, checksum=checksum(self), of_arrays=True)
            object.__setattr__(self, "provenance", known)

    @classmethod
    def from_tables(cls, features: Any, labels: Any = None, edges: Any = None, split: Any = None, **options) -> Dataset:
        """A data set from tables joined by id: see `data.making.tables.from_tables`."""
        return _maker("tables").from_tables(features, labels, edges, split, **options)

    @classmethod
    def from_folder(cls, folder: Any, **options) -> Dataset:
        """A data set from a folder of tables, as `data.load("tables", folder=...)`: see `data.making.folder`."""
        return _maker("folder").from_folder(folder, **options)

    @classmethod
    def from_arrays(cls, x: Any, edge_index: Any = None, y: Any = None, **options) -> Dataset:
        """A data set from arrays whose rows are the nodes, in one order: see `data.making.arrays.from_arrays`."""
        return _maker("arrays").from_arrays(x, edge_index, y, **options)

    @classmethod
    def from_networkx(cls, graph: Any, features: Any, label: str | None = None, **options) -> Dataset:
        """A data set from a networkx graph and its nodes' attributes: see `data.making.networks.from_networkx`."""
        return _maker("networks").from_networkx(graph, features, label, **options)

    @classmethod
    def from_mudata(cls, source: Any, label: str | None = None, **options) -> Dataset:
        """A data set from a MuData or AnnData object or file: see `data.making.omics.from_mudata`."""
        return _maker("omics").from_mudata(source, label, **options)

    @property
    def num_nodes(self) -> int:
        return self.mask.shape[0]

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.features)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Names what of the data decides numbers: see `data.fingerprint`.

        Raises:
            ValueError: seed 0 has no split.
        """
        return fingerprint(self)

    def split(self, seed: int) -> Split:
        """The split of one seed, validated; masks over the rows as row numbers.

        Raises:
            ValueError: rows out of range or in two parts, an empty part, or a class without a training row.
        """
        where = f"data set {self.name!r}, split of seed {seed}"
        split = Split(*_fields.parts(self.splits.draw(seed), len(self.target), where))
        check_split(self, split, seed)
        return split

    def graph(self, name: str | None = None, views: tuple[str, ...] = ()) -> Graph | None:
        """The named edge set (the default one if None) as a device `Graph`; `views` names one a modality.

        Raises:
            ValueError: no such edge set.
        """
        name = self.default_graph if name is None else name
        if not name:
            if views:
                raise ValueError(
                    f"data set {self.name!r} has no default edge set, and edge sets of the single modalities "
                    f"({', '.join(views)}) are named: name the shared one too (data.graph)"
                )
            return None
        return self._graph(name, tuple(self._graph(v) for v in views))

    def _graph(self, name: str, views: tuple[Graph, ...] = ()) -> Graph:
        if name not in self.graphs:
            raise ValueError(
                f"data set {self.name!r} has no edge set {name!r}{nearest(name, self.graphs)}; "
                f"it has: {', '.join(self.graphs) or 'none'}"
            )
        g = self.graphs[name]
        return Graph.create(g.senders, g.receivers, g.n_node, g.edges or {}, views)


def _maker(name: str) -> Any:
    """A file of `data/making`, which knows this record: by name, so that imports point one way."""
    return importlib.import_module(f"fusion_jax.data.making.{name}")


def edge_set(
    senders: np.ndarray,
    receivers: np.ndarray,
    num_nodes: int | np.ndarray,
    edges: dict[str, np.ndarray] | None = None,
) -> jraph.GraphsTuple:
    """A host edge set sorted by receiver, then sender; ids must lie in [0, N).

    Edges are directed, from sender to receiver, and an edge that is given twice is two.

    Args:
        num_nodes: N, or the node counts [G] of a batch of graphs.
        edges: arrays [E, ...]: ``weight`` >= 0, ``features``, ``time``; see `check_edges`. Floats become float32.
    Raises:
        ValueError: ids out of range, lengths that differ, edge arrays that `check_edges` refuses.
    """
    n_node = node_counts(num_nodes, "edge_set")
    senders, receivers = np.asarray(senders), np.asarray(receivers)
    edges = {} if edges is None else edges
    edges = check_edges(senders, receivers, int(n_node.sum()), edges, "edge_set", np.float32)
    order = np.lexsort((senders, receivers))
    senders, receivers = senders[order].astype(np.int32), receivers[order].astype(np.int32)
    _check_within(senders, receivers, n_node, "edge_set")
    n_edge = np.bincount(_graph_of(receivers, n_node), minlength=n_node.size).astype(np.int32)
    return jraph.GraphsTuple(
        nodes=None,
        edges={k: v[order] for k, v in edges.items()} or None,
        receivers=receivers,
        senders=senders,
        globals=None,
        n_node=n_node,
        n_edge=n_edge,
    )


def _graph_of(ids: np.ndarray, n_node: np.ndarray) -> np.ndarray:
    """The graph of the batch that each node id belongs to."""
    return np.searchsorted(np.cumsum(n_node), ids, side="right")


def _check_within(senders, receivers, n_node, where: str) -> None:
    """Raises ValueError if an edge joins two graphs of a batch."""
    a, b = _graph_of(senders, n_node), _graph_of(receivers, n_node)
    crossing = np.flatnonzero(a != b)
    if crossing.size:
        e = crossing[0]
        raise ValueError(
            f"{where}: row {e}, edge {senders[e]} -> {receivers[e]} joins two graphs of the batch "
            f"({a[e]} and {b[e]}); expected edges within one graph"
        )


def validate(d: Dataset) -> None:
    """Raises ValueError unless the record is consistent (see `Dataset`)."""

    def fail(field: str, found: str, expected: str):
        raise ValueError(f"data set {d.name!r}, field {field}: {found}; expected {expected}")

    n, m = d.mask.shape
    if len(d.features) != m:
        fail("features", f"{len(d.features)} modalities ({', '.join(d.features)})", f"{m} as in mask")
    for i, (name, x) in enumerate(d.features.items()):
        for row, _, value in _fields.not_finite(x, d.mask[:, i], bool(d.impute)):
            fail(f"features[{name!r}]", f"row {row} holds {value}", "finite values wherever mask is true")
    for name, g in d.graphs.items():
        if int(np.sum(g.n_node)) != n:
            fail(f"graphs[{name!r}]", f"{int(np.sum(g.n_node))} nodes", f"{n}")
        _check_within(g.senders, g.receivers, g.n_node, f"data set {d.name!r}, graphs[{name!r}]")
        if np.any(np.diff(g.receivers) < 0):
            row = int(np.flatnonzero(np.diff(g.receivers) < 0)[0]) + 1
            fail(f"graphs[{name!r}]", f"receivers not sorted at row {row}", "edges sorted by receiver")
    if d.default_graph and d.default_graph not in d.graphs:
        fail("default_graph", repr(d.default_graph), f"one of {sorted(d.graphs)}")
    if d.setting not in ("transductive", "inductive"):
        fail("setting", repr(d.setting), "'transductive' or 'inductive'")
    for name, how in d.made.items():
        _validate_made(d, name, how, fail)
    for name, called in d.columns.items():
        if name not in d.features or len(called) != d.features[name].shape[1]:
            width = "no such modality" if name not in d.features else f"{d.features[name].shape[1]} columns"
            fail(f"columns[{name!r}]", f"{len(called)} names", f"one a column of the modality ({width})")
    if d.impute not in IMPUTE:
        fail("impute", repr(d.impute), " or ".join(map(repr, IMPUTE)))
    for field in ("ids", "labelled"):
        if (value := getattr(d, field)) is not None and value.shape != (n,):
            fail(field, f"shape {value.shape}", f"({n},), one a node")
    if d.ids is not None and len(np.unique(d.ids)) != n:
        order = np.argsort(d.ids, kind="stable")
        twice = int(np.argmax(d.ids[order][1:] == d.ids[order][:-1]))
        fail("ids", f"rows {order[twice]} and {order[twice + 1]} hold {str(d.ids[order[twice]])!r}", "each id once")
    if d.labelled is not None and d.target.level != "node":
        fail("labelled", f"given beside a target of {d.target.level}s", "None: it is a matter of nodes")
    _validate_target(d, fail)


def _validate_made(d: Dataset, name: str, how: Neighbours, fail) -> None:
    field = f"made[{name!r}]"
    if name not in d.graphs:
        fail(field, "no such edge set", f"one of {sorted(d.graphs)}")
    if how.k < 1:
        fail(f"{field}.k", str(how.k), "at least 1")
    if how.metric not in METRICS:
        fail(f"{field}.metric", repr(how.metric), " or ".join(map(repr, METRICS)))
    if not how.groups or not all(how.groups):
        fail(f"{field}.groups", repr(how.groups), "one or more groups of one or more modalities")
    for modality in (m for group in how.groups for m in group):
        if modality not in d.features:
            fail(f"{field}.groups", f"modality {modality!r}", f"one of {sorted(d.features)}")
    if len(d.graphs[name].n_node) > 1:
        fail(field, f"a batch of {len(d.graphs[name].n_node)} graphs", "a single graph: neighbours cross graphs")


def _validate_target(d: Dataset, fail) -> None:
    target, task = d.target, tasks.of(d.target)
    if target.level not in tuple(task.readouts):  # it may be anything
        fail("target.level", repr(target.level), " or ".join(map(repr, task.readouts)))
    rows = _rows(d, fail)
    if len(target) != rows:
        fail("target", f"{len(target)} rows", f"{rows}, one a {target.level}")
    task.validate(target, d, fail)
    if d.splits.rows is not None and d.splits.rows != rows:
        fail("splits", f"made for {d.splits.rows} rows", f"{rows}, one a {target.level}")


def _rows(d: Dataset, fail) -> int:
    """How many rows the target has by its level."""
    if d.target.level == "graph":
        batches = {tuple(np.asarray(g.n_node).tolist()) for g in d.graphs.values()}
        if len(batches) != 1:
            fail("target", "labels of graphs", "edge sets that split the nodes into graphs in one common way")
        if not d.default_graph:
            fail("default_graph", "none", "one, where graphs are labelled: a readout averages over its graphs")
        return len(batches.pop())
    if d.target.level == "link" and not d.default_graph:
        fail("default_graph", "none", "one, where links are labelled: those held out are taken out of it")
    return len(d.target) if d.target.level == "link" else d.num_nodes


def check_split(d: Dataset, split: Split, seed: int) -> None:
    """Raises ValueError unless the parts are disjoint, in range, not empty, and training sees every class."""
    where = f"data set {d.name!r}, split of seed {seed}"
    rows = len(d.target)
    owner = np.full(rows, -1)
    for i, part in enumerate(("train", "val", "test")):
        ids = np.asarray(getattr(split, part))
        if ids.size == 0:
            raise ValueError(f"{where}: the {part} part is empty; expected at least one row")
        if not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"{where}: {part} holds {ids.dtype}; expected row numbers (integers)")
        bad = ids[(ids < 0) | (ids >= rows)]
        if bad.size:
            raise ValueError(f"{where}: {part} holds row {bad[0]}; expected rows in [0, {rows})")
        taken = ids[owner[ids] >= 0]
        if taken.size:
            other = ("train", "val", "test")[owner[taken[0]]]
            raise ValueError(f"{where}: row {taken[0]} is in {other} and in {part}; expected disjoint parts")
        if d.labelled is not None and not d.labelled[ids].all():
            row = ids[~d.labelled[ids]][0]
            raise ValueError(f"{where}: {part} holds row {row}, whose target is not known; expected labelled rows")
        owner[ids] = i
        if np.any(np.diff(ids) <= 0):
            e = int(np.flatnonzero(np.diff(ids) <= 0)[0]) + 1
            raise ValueError(f"{where}: {part}[{e}] is {ids[e]} after {ids[e - 1]}; expected rising rows")
    tasks.of(d.target).check_split(d.target, vars(split), where)


def arrays_of(target: Target, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) of every field of a target; "colour: labels" of the target `colour` of several."""
    for name, value in target.fields.items():
        if isinstance(value, Target):
            yield from arrays_of(value, f"{prefix}{name}: ")
        else:
            yield prefix + name, value


def checksum(d: Dataset) -> str:
    """sha256 over features, mask, edges and targets."""
    digest = hashlib.sha256()

    def add(name, array):
        if array is None:
            return
        if sp.issparse(array):
            for part in ("data", "indices", "indptr"):
                add(f"{name}.{part}", getattr(array, part))
            digest.update(str(array.shape).encode())  # the last columns may be empty
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
    for field, array in arrays_of(d.target):
        add(field, array)
    return digest.hexdigest()
