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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Target:
    """What is to be predicted; only the fields of its kind are set.

    Attributes:
        kind: "classes", "values" or "survival".
        labels: int [N], in [0, C) (classes).
        values: float [N, K] (values).
        time: float [N], > 0, until event or censoring (survival).
        event: bool [N], true where the event was seen (survival).
        num_outputs: C, K, or 1.
        level: "node", or "graph" where the rows are the G graphs of a batch.
    """

    kind: str = dataclasses.field(metadata=dict(static=True))
    labels: Array | None = None
    values: Array | None = None
    time: Array | None = None
    event: Array | None = None
    num_outputs: int = dataclasses.field(default=1, metadata=dict(static=True))
    level: str = dataclasses.field(default="node", metadata=dict(static=True))

    def __len__(self) -> int:
        return next(len(v) for v in (self.labels, self.values, self.time) if v is not None)


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
