"""The contract of a structure: made on the host from an edge set and options, read inside compiled programs.

A mechanism declares what it needs, `self.structures = (Structure("partition", {"parts": 8}),)`; `derive` makes it, once
for each edge set, and `graph.structure(declared)` gives the record. Common rules, unless a file says otherwise: each
graph of a batch by itself; an edge counts in both directions, loops are dropped, parallel edges are one (the
strongest); a row that is not `present` belongs to nothing, and rows of that kind behind the last change nothing.
An id of a node that is not there is N, the number of rows, with a `valid` beside it that is false.

Which structures a mechanism declares is known once it is built, and a cell has its identity before: a structure has no
version. When it computes other records than before, raise the version in the Info of each mechanism that declares it.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from fusion_jax import zoo
from fusion_jax.graphs import Array, Graph


@dataclasses.dataclass(frozen=True)
class Structure:
    """A structure by the name of its file, with options; two are equal where they give the same record.

    Its string, such as "partition(parts=8)", is its key in `Graph.derived`; an option at its default is not in it.

    Raises:
        ValueError: no such structure or option (names the nearest), or a value that the structure refuses.
    """

    name: str
    options: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()

    def __post_init__(self):
        given = dict(self.options)
        zoo.make("structure", self.name, options=given)
        defaults = zoo.options("structure", self.name)
        own = {k: v for k, v in given.items() if (type(v), v) != (type(defaults[k]), defaults[k])}
        object.__setattr__(self, "options", tuple(sorted(own.items())))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.options)})"

    @property
    def maker(self) -> Maker:
        return zoo.make("structure", self.name, options=dict(self.options))


def declare(mechanism: str, name: str, **options: Any) -> Structure:
    """The structure that a mechanism's own options ask for.

    Raises:
        ValueError: options that the structure refuses; names the mechanism too.
    """
    try:
        return Structure(name, options)
    except ValueError as error:
        raise ValueError(f"{mechanism}: {error}") from error


class Record(Protocol):
    """What a structure is on the device: a registered dataclass of arrays that documents their shapes."""

    def permuted(self, order: Array) -> Record:
        """The same structure after the nodes are put in another order: row i is the one that was row order[i]."""

    def report(self) -> dict[str, float]:
        """What a reader should know of it, in plain numbers."""


class Maker(abc.ABC):
    """A file of this folder defines one, named like the file; its options are keyword arguments of `__init__`.

    Attributes:
        uses: other structures that this one is made from.
        lasts: whether what it says of nodes stays where others arrive (with `earlier`). Where it is made anew of all
            nodes, a model that was not trained to see it change cannot be asked for new ones.
    """

    uses: tuple[Structure, ...] = ()
    lasts: bool = True

    @abc.abstractmethod
    def make(
        self, edge_sets: Sequence[Edges], used: Sequence[Sequence[Record]], earlier: Sequence[Record] | None
    ) -> list[Record]:
        """One record for each of the edge sets, all padded to the same shapes.

        Args:
            used: for each of `uses`, the records of these edge sets.
            earlier: this structure as it was before nodes arrived, one for each edge set; None where there is none.
        """


@dataclasses.dataclass(frozen=True)
class Edges:
    """An edge set on the host, as structures read it: no loops, no edges of rows that are not present.

    Attributes:
        n_node: int [G], the rows of each graph.
        senders, receivers: int [E], every pair once, sorted by receiver, then sender.
        weight: float64 [E], the largest of the parallel edges; 1 where the edge set has none.
        present: bool [N].
    """

    n_node: np.ndarray
    senders: np.ndarray
    receivers: np.ndarray
    weight: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, graph: Graph) -> Edges:
        n = graph.num_nodes
        s, r = np.asarray(graph.senders, np.int64), np.asarray(graph.receivers, np.int64)
        present = np.ones(n, bool) if graph.present is None else np.asarray(graph.present)
        weight = np.asarray(graph.edges.get("weight", np.ones(len(s))), np.float64)
        keep = (s != r) & present[s] & present[r]
        pairs, place = np.unique(r[keep] * n + s[keep], return_inverse=True)
        largest = np.zeros(len(pairs))
        np.maximum.at(largest, place, weight[keep])
        return cls(np.asarray(graph.jraph.n_node), pairs % max(n, 1), pairs // max(n, 1), largest, present)

    @property
    def num_nodes(self) -> int:
        return len(self.present)

    @property
    def num_graphs(self) -> int:
        return len(self.n_node)

    @functools.cached_property
    def graph_ids(self) -> np.ndarray:  # [N]
        return np.repeat(np.arange(self.num_graphs), self.n_node)

    @functools.cached_property
    def rows(self) -> list[np.ndarray]:
        """The ids of the present nodes of each graph, ascending."""
        ends = np.cumsum(self.n_node)
        return [b - n + np.flatnonzero(self.present[b - n : b]) for n, b in zip(self.n_node, ends, strict=True)]

    def incoming(self, weighted: bool = False) -> sp.csr_array:
        """float64 [N, N], row i holds what i receives: 1 an edge, or its weight."""
        values = self.weight if weighted else np.ones(len(self.weight))
        return sp.csr_array((values, (self.receivers, self.senders)), shape=(self.num_nodes, self.num_nodes))

    def adjacency(self, weighted: bool = False) -> sp.csr_array:
        """float64 [N, N], symmetric: the larger of both directions."""
        a = self.incoming(weighted)
        return sp.csr_array(a.maximum(a.T))

    @functools.cached_property
    def content(self) -> bytes:
        """Equal where two edge sets are."""
        return b"|".join(np.ascontiguousarray(getattr(self, f.name)).tobytes() for f in dataclasses.fields(self))


def derive(
    graphs: Sequence[Graph],
    structures: Iterable[Structure],
    views: Iterable[Structure] = (),
    earlier: Sequence[Graph] | None = None,
) -> list[Graph]:
    """The graphs (those of the seeds, over the same rows) with what is to be made from them, in the same shapes.

    Args:
        structures: of the edge set that the modalities share.
        views: of the edge set each modality works on, which is the shared one where a graph has no views.
        earlier: the same graphs before nodes arrived or edges changed, from this function; what says so (a partition)
            goes on from there.
    Raises:
        ValueError: a structure cannot be made from an edge set; names both.
    """
    structures, views, count = tuple(structures), tuple(views), len(graphs[0].views)
    made: dict[tuple, list[Record]] = {}

    def attach(name: str, edge_sets: Sequence[Graph], wanted: Iterable[Structure], before: Sequence[Graph] | None):
        held = [Edges.of(g) for g in edge_sets]
        content = [e.content for e in held]
        if before is not None:
            content = [c + Edges.of(b).content for c, b in zip(content, before, strict=True)]
        different = list(dict.fromkeys(content))  # seeds often share their split
        first = [content.index(c) for c in different]

        def one(structure: Structure) -> list[Record]:
            key = (structure, *different)
            if key not in made:
                maker = structure.maker
                used = [one(other) for other in maker.uses]
                past = None if before is None else [before[i].structure(structure) for i in first]
                try:
                    made[key] = maker.make([held[i] for i in first], used, past)
                except ValueError as error:
                    raise ValueError(f"structure {structure} of {name}: {error}") from error
            return made[key]

        records = {str(s): one(s) for s in _with_uses(wanted)}
        places = [different.index(c) for c in content]
        return [
            dataclasses.replace(g, derived={k: r[i] for k, r in records.items()})
            for g, i in zip(edge_sets, places, strict=True)
        ]

    shared = attach("the edge set", graphs, structures + (() if count else views), earlier)
    own = [
        attach(
            f"view {m}", [g.views[m] for g in graphs], views, None if earlier is None else [g.views[m] for g in earlier]
        )
        for m in range(count)
    ]
    return [dataclasses.replace(g, views=tuple(v[i] for v in own)) for i, g in enumerate(shared)]


def _with_uses(structures: Iterable[Structure]) -> dict[Structure, None]:
    found: dict[Structure, None] = {}
    for structure in structures:
        found |= _with_uses(structure.maker.uses) | {structure: None}
    return found


def moved(ids: Array, order: Array) -> Array:
    """Node ids, N among them, after the nodes are put in another order: node order[i] becomes node i."""
    return jnp.append(jnp.argsort(order), len(order)).astype(ids.dtype)[ids]


def table(rows: Sequence[np.ndarray], width: int, fill: int, length: int | None = None) -> np.ndarray:
    """int32 [length, width]: rows of different lengths side by side, `fill` where one has ended."""
    held = np.full((len(rows) if length is None else length, width), fill, np.int32)
    for i, row in enumerate(rows):
        held[i, : len(row)] = row
    return held
