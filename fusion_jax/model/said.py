"""What the parts of a model say beside the state they pass on: attention, losses, side predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.nn.pooling import graph_mean, node_count
from fusion_jax.records import Array, Attention, Evidence, Fused, Head, Tokens


class Said:
    """What mechanisms say beside what they pass on, in the order in which a model calls them."""

    def __init__(self):
        self.attention: list[Attention] = []
        self.states: list[Tokens] = []
        self.heads: list[Head] = []
        self.tokens: list[Array | None] = []
        self.history: list[Array] = []
        self.losses: dict[str, Array] = {}
        self.uncertainty: Array | None = None
        self.evidence: Evidence | None = None
        self.revealed: Array | None = None

    def attend(self, place: str, attention: tuple[Attention, ...]) -> None:
        self.attention += _named(place, attention)

    def head(self, place: str, heads: tuple[Head, ...]) -> None:
        self.heads += _named(place, heads)

    def show(self, place: str, states: tuple[Tokens, ...]) -> None:
        self.states += _named(place, states)

    def add(self, losses: Mapping[str, Array]) -> None:
        for name, value in losses.items():
            self.losses[name] = self.losses[name] + value if name in self.losses else value

    def fused(self, place: str, fused: Fused) -> None:
        """Of several fusions that state an uncertainty or hold opinions, the last is heard."""
        self.attend(place, fused.attention)
        self.add(fused.losses)
        self.show(place, fused.states)
        self.head(place, fused.heads)
        self.tokens.append(fused.tokens)
        self.history.append(fused.out)
        self.uncertainty = self.uncertainty if fused.uncertainty is None else fused.uncertainty
        self.evidence = self.evidence if fused.evidence is None else fused.evidence
        if fused.revealed is not None:
            self.revealed = fused.revealed if self.revealed is None else self.revealed | fused.revealed

    def of_rows(self, graph: Graph) -> None:
        """What was said of nodes is said of the target's rows: the mean over a graph's nodes, or over a pair's."""

        def mean(values: Array) -> Array:
            return graph_mean(values, graph) if graph.pairs is None else values[graph.pairs].mean(1)

        self.heads = [dataclasses.replace(head, values=mean(head.values)) for head in self.heads]
        if self.uncertainty is not None:
            self.uncertainty = mean(self.uncertainty[:, None])[:, 0]
            if graph.pairs is None:  # of a graph in which nobody has anything nothing is known
                self.uncertainty = jnp.where(node_count(graph) > 0, self.uncertainty, 1)


def _named(place: str, records: tuple) -> list:
    return [dataclasses.replace(record, name=f"{place}: {record.name}") for record in records]
