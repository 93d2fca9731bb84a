"""The words and records everything else is written in.

Axis letters, the same everywhere: N nodes, M modalities, D width, H heads, E edges, G graphs,
C classes, S seeds, T steps, L layers. Shapes are written in trailing comments, ``# [N, M, D]``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from fusion_jax import keys
from fusion_jax.graphs import Graph
from fusion_jax.traced import Numbers

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Batch:
    """What a model sees: the features of all nodes, which of them are present, and the graph.

    The order of the modalities is that of `names`, which is static: a dict that passes through `jit` or `tree.map`
    comes back with sorted keys, and is put in the order of `names` again whenever the record is made anew.

    Attributes:
        features: {modality: float [N, d_m]}, in the order of `names`.
        mask: bool [N, M], true where the node has the modality; column i is that of names[i].
        graph: the edge set (or sets) of this run; view i is that of names[i].
        names: the modalities in order; that of `features` as given if ().
        sparse: {modality: the same features as `nn.sparse_rows.SparseRows`}, for encoders that read these; set by
            `with_sparse` alone, so that a batch that is made from another one with other features has none.
    Raises:
        ValueError: names that are not the keys of `features`, each once.
    """

    features: dict[str, Array]
    mask: Array
    graph: Graph | None
    names: tuple[str, ...] = ()
    sparse: dict[str, Any] = dataclasses.field(default_factory=dict, init=False)

    def __post_init__(self):
        if not isinstance(self.features, dict):  # what JAX puts in the place of a part of a tree
            return
        names = self.names or tuple(self.features)
        if sorted(names) != sorted(self.features):
            raise ValueError(f"batch: names {list(names)} are not the modalities {list(self.features)}")
        object.__setattr__(self, "names", names)
        if tuple(self.features) != names:
            object.__setattr__(self, "features", {name: self.features[name] for name in names})

    def with_sparse(self, sparse: dict[str, Any]) -> Batch:
        """The same batch with these of its features in sparse form."""
        made = dataclasses.replace(self)
        object.__setattr__(made, "sparse", sparse)
        return made

    def with_mask(self, mask: Array) -> Batch:
        """The same features, of which other ones are present."""
        return dataclasses.replace(self, mask=mask).with_sparse(self.sparse)

    def with_graph(self, graph: Graph | None) -> Batch:
        """The same features on another edge set."""
        return dataclasses.replace(self, graph=graph).with_sparse(self.sparse)


def _batch_leaves(batch: Batch):
    parts = "features", "mask", "graph", "sparse"
    return tuple((jax.tree_util.GetAttrKey(name), getattr(batch, name)) for name in parts), batch.names


def _batch_of(names, leaves) -> Batch:
    *parts, sparse = leaves
    made = Batch(*parts, names)
    object.__setattr__(made, "sparse", sparse)
    return made


jax.tree_util.register_pytree_with_keys(Batch, _batch_leaves, _batch_of)


@dataclasses.dataclass(frozen=True, init=False)
class Target:
    """What is to be predicted: `Target("classes", labels=y, num_outputs=3)`.

    The fields are those of the task (`fusion_jax/tasks/<kind>.py`), and are attributes too: `target.labels`. The record
    is a pytree of its fields, in their order.

    Attributes:
        kind: the task: a file of `fusion_jax/tasks`, or the path of one's own.
        num_outputs: C, the width of a prediction.
        level: what a row is: "node"; "graph", one of the G graphs of a batch; or "link", a pair of nodes.
        fields: {name: array [N, ...]}; a task of several targets has a `Target` for each.
    """

    kind: str
    num_outputs: int = 1
    level: str = "node"
    fields: dict[str, Array | Target] = dataclasses.field(default_factory=dict)

    def __init__(self, kind: str, *, num_outputs: int = 1, level: str = "node", fields=None, **more):
        """Fields are given by name, or as a dictionary; a field that is None is one that is not there."""
        given = {**(fields or {}), **more}
        held = {name: value for name, value in given.items() if value is not None}
        for name, value in dict(kind=kind, num_outputs=num_outputs, level=level, fields=held).items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("fields", {})  # not there yet while a copy is made
        if name in fields:
            return fields[name]
        kind, known = self.__dict__.get("kind"), ", ".join(fields) or "none"
        raise AttributeError(f"a target of {kind!r} has no field {name!r}; its fields: {known}")

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    @property
    def widths(self) -> tuple[int, ...]:
        """The number of outputs of each of several targets in their order; of one, (C,)."""
        parts = [part.num_outputs for part in self.fields.values() if isinstance(part, Target)]
        return tuple(parts) or (self.num_outputs,)

    @property
    def words(self) -> str:
        """What is predicted of what, such as "classes of nodes"."""
        return f"{self.kind} of {self.level}s"


def _target_leaves(target: Target):
    names = tuple(target.fields)
    leaves = tuple((jax.tree_util.GetAttrKey(name), target.fields[name]) for name in names)
    return leaves, (target.kind, target.num_outputs, target.level, names)


def _target_of(static, leaves) -> Target:
    kind, num_outputs, level, names = static
    target = object.__new__(Target)  # a leaf may be anything, None too
    held = dict(kind=kind, num_outputs=num_outputs, level=level, fields=dict(zip(names, leaves, strict=True)))
    target.__dict__.update(held)
    return target


jax.tree_util.register_pytree_with_keys(Target, _target_leaves, _target_of)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Context:
    """What a mechanism may know beside its inputs.

    Attributes:
        key: the randomness of training (dropout, sampling); None in evaluation, where nothing is random.
        step: int scalar, the epoch now, counted from the first of training; None outside training.
        total: epochs that training has in all; None outside training.
        target: what is to be predicted, hidden in every row that is no training row (as its task hides); in
            evaluation too. Only a mechanism that needs "labels" is given it, others find None.
        train: bool [rows of the target], the training rows; beside `target` only.
        numbers: those of the cell that are arguments of its program, for the model itself and for what weighs losses;
            None where all are compiled in. No mechanism is given them.
    """

    key: Array | None = None
    step: Array | None = None
    total: int | None = None
    target: Target | None = None
    train: Array | None = None
    numbers: Numbers | None = None

    @property
    def labels(self) -> Array:
        """int [rows], the classes of the training rows, -1 in all others."""
        return jnp.where(self.train, self.target.labels, -1)

    def split(self, n: int) -> tuple[Context, ...]:
        """n contexts with keys of their own, all else alike; without a key none has one."""
        own = (None,) * n if self.key is None else tuple(keys.split(self.key, n))
        return tuple(dataclasses.replace(self, key=key) for key in own)

    def told(self, needs: tuple[str, ...]) -> Context:
        """The context of a mechanism with these needs: without labels unless it needs them."""
        own = dataclasses.replace(self, numbers=None)
        return own if "labels" in needs else dataclasses.replace(own, target=None, train=None)


EVALUATION = Context()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Attention:
    """Who looks at whom, and how much: the weights of one attention, gate or mixture.

    Over tokens, the last axis is that of the keys and the one before it that of the queries, unless every node is one
    query. Along edges the axis "edge" stands for both: the receiver asks, the sender is the key.

    Attributes:
        name: what it is in the mechanism; unique there.
        weights: one number for every entry of the axes; 0 at keys that cannot be seen.
        axes: names of the axes of `weights` in order, such as ("node", "head", "modality", "modality") or
            ("edge", "head"). Where sizes are known by the name: "node" N, "modality" M, "edge" E.
        queries, keys: what asks and what is asked: "node", "modality", "latent", "token", "part", "head", ...
        senders, receivers: int [E], of an attention along edges.
        valid: bool, with as many axes as `weights`, of size 1 where nothing depends on the axis: true where a key
            can be seen; None where all can.
        scores: what the softmax was taken of, of the form of `weights`; None where there is no such thing.
        normalised: whether the weights of a query that sees a key sum to 1 over its keys.
    """

    name: str = dataclasses.field(metadata=dict(static=True))
    weights: Array
    axes: tuple[str, ...] = dataclasses.field(metadata=dict(static=True))
    queries: str = dataclasses.field(metadata=dict(static=True))
    keys: str = dataclasses.field(metadata=dict(static=True))
    senders: Array | None = None
    receivers: Array | None = None
    valid: Array | None = None
    scores: Array | None = None
    normalised: bool = dataclasses.field(default=True, metadata=dict(static=True))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tokens:
    """A named set of vectors a node that a mechanism holds beside its modalities.

    Attributes:
        name: what they are in the mechanism.
        values: [N, T, W].
        mask: bool [N, T], true where there is one.
        axis: what T counts: "block", "condition", "niche", ...
    """

    name: str = dataclasses.field(metadata=dict(static=True))
    values: Array
    mask: Array
    axis: str = dataclasses.field(metadata=dict(static=True))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Evidence:
    """The opinions a mechanism holds on the classes (`nn.evidence`).

    Attributes:
        streams: [N, M, C], logits of the single modalities; softplus of them is their evidence.
        uncertainty: [N, M] in (0, 1], of the modalities' opinions, 1 where one is missing.
        fused: [N, C], >= 0, evidence of the opinions combined; None of a mechanism that combines none. Its
            uncertainty is that of `Fused`.
    """

    streams: Array
    uncertainty: Array
    fused: Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Head:
    """A prediction beside the model's own: the training loss adds `weight` times the cell's loss of it.

    Attributes:
        name: for tables.
        values: [N, C], as the model's prediction; where the target's rows are graphs, the mean over a graph's nodes
            is what counts.
        weight: factor, >= 0.
    """

    name: str = dataclasses.field(metadata=dict(static=True))
    values: Array
    weight: Array | float = 1.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fused:
    """What a fusion returns.

    Attributes:
        out: [N, D], one vector a node.
        tokens: [N, M, D], the modalities after they have seen each other, or None. Only a fusion with
            tokens can be `interleaved` with graph layers.
        attention: what it attends to, gates and mixes with.
        losses: named scalars the mechanism adds to the training loss (already weighted).
        uncertainty: [N] in (0, 1], 1 where it knows nothing, of a mechanism that states how unsure it is; or None.
        evidence: the opinions it holds, or None.
        states: further sets of vectors it exposes.
        heads: predictions it makes beside the model's.
        prediction: [N, C], of a fusion that predicts itself (`model.head="fusion"`), or None.
        revealed: bool [rows of the target], those whose own label the mechanism was shown: they leave the training
            loss. None where it was shown none.
    """

    out: Array
    tokens: Array | None = None
    attention: tuple[Attention, ...] = ()
    losses: dict[str, Array] = dataclasses.field(default_factory=dict)
    uncertainty: Array | None = None
    evidence: Evidence | None = None
    states: tuple[Tokens, ...] = ()
    heads: tuple[Head, ...] = ()
    prediction: Array | None = None
    revealed: Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Read:
    """What a readout returns.

    Attributes:
        out: [N, D], or [G, D] where the target's rows are graphs: what the head reads.
        heads: predictions it makes beside the model's, a row as `out`.
        losses: named scalars added to the training loss.
        attention: what it attends to.
    """

    out: Array
    heads: tuple[Head, ...] = ()
    losses: dict[str, Array] = dataclasses.field(default_factory=dict)
    attention: tuple[Attention, ...] = ()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Output:
    """What a model returns; losses, metrics and analyses read nothing else.

    Attributes:
        prediction: [N, C] logits (classes), [N, K] values, or [N, 1] log-risk (survival); G rows instead of N
            where the labels belong to graphs.
        streams: [N, M, C], the predictions of the single modalities (placement `decision`), or None.
        embeddings: [N, M, D], the modalities as encoded.
        hidden: [N, D], the state the head reads; None at placement `decision`.
        mask: bool [N, M], the modalities the model took as present when it encoded them: what `embeddings` has.
        present: bool [N, M], the modalities the last fusion saw as present: what `streams` and its attention have.
            Behind graph layers a node may have heard of a modality that it lacks itself. `mask` if None.
        tokens: [N, M, D] or None of every fusion, in order.
        history: [N, D], `out` of every fusion, in order.
        attention: of every mechanism, its name behind that of its place: "encoder a: ...", "stream 1 a: ..." of the
            first graph layer of modality a, "fusion 1: ...", "layer 1: ...", "readout: ...".
        states: of encoders and fusions, named as attentions are.
        heads: predictions beside this one, a row as `prediction`, named as attentions are.
        losses: named scalars that mechanisms add to the training loss.
        uncertainty: [N] in (0, 1], of the last fusion that states it, or None; where the rows are graphs [G], the mean
            over a graph's nodes.
        evidence: of the last fusion that holds opinions, or None.
        revealed: bool [rows], those that leave the training loss as a mechanism was shown their label, or None.
    """

    prediction: Array
    streams: Array | None
    embeddings: Array
    hidden: Array | None
    mask: Array
    present: Array | None = None
    tokens: tuple[Array | None, ...] = ()
    history: tuple[Array, ...] = ()
    attention: tuple[Attention, ...] = ()
    states: tuple[Tokens, ...] = ()
    heads: tuple[Head, ...] = ()
    losses: dict[str, Array] = dataclasses.field(default_factory=dict)
    uncertainty: Array | None = None
    evidence: Evidence | None = None
    revealed: Array | None = None

    def __post_init__(self):
        if self.present is None:
            object.__setattr__(self, "present", self.mask)


@dataclasses.dataclass(frozen=True)
class Info:
    """A mechanism's entry in the catalogue, a class attribute `info` of it.

    Attributes:
        paper: authors, title, year; what to cite.
        year: of the paper, or 0 for folklore.
        pinned: what its numbers are tested against: "authors' code", "stand-in" or "independent".
        golden: slug of its golden cases, "" where there are none.
        cost: time of one pass in N, M, D, E, ...
        needs: of the words of `NEEDS`: what it cannot do without. An instance whose options need less or more says so
            in its attribute `needs`.
        modalities: the numbers of modalities the published form exists for; () for any. Fusions are refused others.
        tasks: the kinds of target a loss is defined for; () for any. Losses are refused others.
        rowwise: of a loss, whether it is the weighted mean over rows of what each says by itself
            (`losses.base.weighted_mean`), so that batches of rows estimate it. What is declared is tested.
        version: counts the changes after which the mechanism computes other numbers than before; results of another
            version are not taken for its own.
    """

    paper: str
    year: int = 0
    pinned: str = "independent"
    golden: str = ""
    cost: str = "O(N M D)"
    needs: tuple[str, ...] = ()
    modalities: tuple[int, ...] = ()
    version: int = 1
    tasks: tuple[str, ...] = ()
    rowwise: bool = False


NEEDS = {
    "graph": "an edge set",
    "edge_time": 'an edge set with `edges["time"]`',
    "views": "one edge set a modality beside the shared one",
    "labels": "the target of the training rows, in its context",
    "outputs": "the number of outputs, `outputs=` of a fusion's or readout's constructor",
    "targets": "the numbers of outputs of the targets, `targets=` of a fusion's constructor",
}


def needs_of(mechanism: Any) -> tuple[str, ...]:
    """What an instance of a mechanism cannot do without."""
    return mechanism.info.needs if mechanism.needs is None else mechanism.needs


def check_needs(what: str, needs: tuple[str, ...], graph: Graph | None, context: Context = EVALUATION) -> None:
    """Raises ValueError where something a mechanism needs is not there.

    Args:
        what: kind and name of the mechanism.
        needs: of the words of `NEEDS`.
        graph: the edge set it is given.
        context: the context it is given.
    """
    if "edge_time" in needs and (graph is None or "time" not in graph.edges):
        found = "no graph" if graph is None else f"edge arrays {sorted(graph.edges)}"
        raise ValueError(f"{what} reads the times of edges; this data set has {found}")
    if "graph" in needs and graph is None:
        without = ": set model.layer.name to 'none'" if what.startswith("layer") else ""
        raise ValueError(f"{what} needs a graph, this data set has none{without}")
    if "views" in needs and not graph.views:
        raise ValueError(f"{what} needs one edge set a modality beside the shared one: set data.views")
    if "labels" in needs and context.target is None:
        raise ValueError(f"{what} needs the labels of training rows: call the model with them in its context")
    if "labels" in needs and context.target.level != "node" and not what.startswith("readout"):
        # A readout returns a row a label; all others have a row a node, which labels of graphs or links do not fit.
        raise ValueError(f"{what} needs a label a node, this data set labels {context.target.level}s")
