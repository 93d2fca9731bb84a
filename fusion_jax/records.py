"""The words and records everything else is written in.

Axis letters, the same everywhere: N nodes, M modalities, D width, H heads, E edges, G graphs,
C classes, S seeds, T steps, L layers. Shapes are written in trailing comments, ``# [N, M, D]``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from fusion_jax.graphs import Graph

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fused:
    """What a fusion returns.

    Attributes:
        out: [N, D], one vector a node.
        tokens: [N, M, D], the modalities after they have seen each other, or None. Only a fusion with
            tokens can be `interleaved` with graph layers.
        weights: what the mechanism attends to, or None; its shape and meaning stand in its docstring.
        losses: named scalars the mechanism adds to the training loss (already weighted).
        uncertainty: [N] in (0, 1], 1 where it knows nothing, of a mechanism that states how unsure it is; or None.
    """

    out: Array
    tokens: Array | None = None
    weights: Any = None
    losses: dict[str, Array] = dataclasses.field(default_factory=dict)
    uncertainty: Array | None = None


@jax.tree_util.register_dataclass
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
    Raises:
        ValueError: names that are not the keys of `features`, each once.
    """

    features: dict[str, Array]
    mask: Array
    graph: Graph | None
    names: tuple[str, ...] = dataclasses.field(default=(), metadata=dict(static=True))

    def __post_init__(self):
        if not isinstance(self.features, dict):  # what JAX puts in the place of a part of a tree
            return
        names = self.names or tuple(self.features)
        if sorted(names) != sorted(self.features):
            raise ValueError(f"batch: names {list(names)} are not the modalities {list(self.features)}")
        object.__setattr__(self, "names", names)
        if tuple(self.features) != names:
            object.__setattr__(self, "features", {name: self.features[name] for name in names})


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
class Output:
    """What a model returns; losses and metrics read nothing else.

    Attributes:
        prediction: [N, C] logits (classes), [N, K] values, or [N, 1] log-risk (survival); G rows instead of N
            where the labels belong to graphs.
        streams: [N, M, C], the predictions of the single modalities (placement `decision`), or None.
        embeddings: [N, M, D], the modalities as encoded.
        hidden: [N, D], the state the head reads.
        mask: bool [N, M], the modalities the model took as present when it encoded them: what `embeddings` has.
        weights: the weights of the last fusion, as its docstring says, or None.
        losses: named scalars that mechanisms add to the training loss.
        uncertainty: [N] in (0, 1], of the predictions, where the fusion that makes them states it; or None.
        present: bool [N, M], the modalities the last fusion saw as present: what `streams` and `weights` have. Behind
            graph layers a node may have heard of a modality that it lacks itself. `mask` if None.
    """

    prediction: Array
    streams: Array | None
    embeddings: Array
    hidden: Array | None
    mask: Array
    weights: Any = None
    losses: dict[str, Array] = dataclasses.field(default_factory=dict)
    uncertainty: Array | None = None
    present: Array | None = None

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
        needs: of "graph", "edge_time", "labels", "views": what it cannot do without.
        modalities: the numbers of modalities the published form exists for; () for any.
        tasks: the kinds of target a loss is defined for; () for any.
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
