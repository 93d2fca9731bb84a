"""The structures of a cell's graphs: made for all seeds together, before training and before a cell is restored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.model import Model
from fusion_jax.records import check_needs, needs_of
from fusion_jax.structures.base import Structure, derive
from fusion_jax.training.prepare import Prepared


def with_structures(
    prepared: Prepared,
    structures: Iterable[Structure],
    views: Iterable[Structure] = (),
    earlier: Sequence[Graph] | None = None,
) -> Prepared:
    """The prepared cell, each of its graphs with what the model's mechanisms declare.

    Where training has graphs of its own (inductive setting, or other edges in evaluation), what evaluation has goes on
    from each seed's training: a partition keeps its parts, and nodes that were not there join them.

    Args:
        structures: of the edge set that the modalities share.
        views: of the edge set each modality works on.
        earlier: what evaluation had before nodes arrived, one a seed, where training has the graph of evaluation.
    Raises:
        ValueError: the cell has no graph.
    """
    wanted = tuple(structures), tuple(views)
    if not any(wanted):
        return prepared
    count, trials = len(prepared.seeds), prepared.trials
    if prepared.evaluated[0] is None:
        names = ", ".join(map(str, dict.fromkeys(wanted[0] + wanted[1])))
        raise ValueError(f"the model needs {names}, made from a graph; this data set has none")
    if trials.graph is None:
        (graph,) = derive(prepared.evaluated[:1], *wanted, earlier=None if earlier is None else earlier[:1])
        batch = prepared.batch.with_graph(graph)
        return dataclasses.replace(prepared, batch=batch, evaluated=(graph,) * count)
    training = derive(_each(trials.graph, count), *wanted)
    if prepared.batch.graph is None and trials.evaluated is None:  # a seed evaluates on the edge set it is trained on
        return dataclasses.replace(
            prepared, trials=dataclasses.replace(trials, graph=_stacked(training)), evaluated=tuple(training)
        )
    evaluated = derive(prepared.evaluated, *wanted, earlier=training)
    own = evaluated
    if trials.evaluated is not None:
        own = derive(_each(trials.evaluated, count), *wanted, earlier=training)
    trials = dataclasses.replace(trials, graph=_stacked(training), evaluated=_stacked(own))
    batch = prepared.batch.with_graph(None)
    return dataclasses.replace(prepared, batch=batch, trials=trials, evaluated=tuple(evaluated))


def structures_of(model: nnx.Module) -> tuple[tuple[Structure, ...], tuple[Structure, ...]]:
    """What mechanisms read of the shared edge set and of each modality's, in the one model or the several there are."""
    models = [part for _, part in nnx.iter_modules(model) if isinstance(part, Model)]
    each = [part.structures() for part in models] or [((), ())]  # a scheme may train something else
    return tuple(tuple(dict.fromkeys(s for found in side for s in found)) for side in zip(*each, strict=True))


def check_graph(model: nnx.Module, prepared: Prepared) -> None:
    """Raises ValueError, with its name, where a mechanism of the model needs a graph and the cell has none.

    Asked before structures are made: of those that are missing nobody could say whose they are.
    """
    if prepared.evaluated[0] is not None:
        return
    for kind, mechanism in mechanisms_of(model):
        if "graph" in needs_of(mechanism):
            check_needs(f"{kind} {zoo.name_of(mechanism)!r}", ("graph",), None)


def mechanisms_of(model: nnx.Module) -> Iterator[tuple[str, nnx.Module]]:
    """Kind and mechanism of the one model or the several there are."""
    for part in (part for _, part in nnx.iter_modules(model) if isinstance(part, Model)):
        layers = [*(streams.layers for streams in part.streams), *part.layers]
        readout = [] if part.readout is None else [part.readout]
        kinds = dict(encoder=part.encoders, fusion=part.fusions, layer=layers, readout=readout)
        yield from ((kind, one) for kind, held in kinds.items() for one in held)


def _each(graph: Graph, count: int) -> list[Graph]:
    return [jax.tree.map(lambda a, i=i: a[i], graph) for i in range(count)]


def _stacked(graphs: list[Graph]) -> Graph:
    return jax.tree.map(lambda *a: jnp.stack(a), *graphs)
