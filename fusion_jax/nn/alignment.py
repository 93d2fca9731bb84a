"""The words in which a mechanism says how its neurons correspond to those of another network: its `align`.

Two trained networks of one shape compute alike with their neurons in other orders. Merging them takes a map T [n0, n1]
of every layer's neurons, features of the network that is aligned -> those of the anchor, x T. Which parameters read
which features, and which of them make one set of neurons, a mechanism knows itself and says in `align`; how two sets of
neurons are matched is the merging rule's business (`Alignment`). A concatenation followed by a linear layer says

    def align(self, anchor, walk, maps, states):
        t_in = scipy.linalg.block_diag(*maps)
        return walk.linear((self.linear, anchor.linear), t_in, concatenated(states), states.rows.any(1))[0]

A pair is always (of the network that is aligned, of the anchor). Parameters of the first are replaced in place.
"""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.records import Array

Map = np.ndarray  # T float64 [n0, n1]
Layer = dict[str, np.ndarray]  # of "kernel" [in, out], "bias" [out], "scale" [out] those that a layer has
Pair = tuple[Any, Any]


@dataclasses.dataclass(frozen=True)
class States:
    """What the two networks compute around a mechanism, before anything of it is aligned.

    Attributes:
        x: pair of what goes in: [N, d_m] of an encoder, [N, M, D] of a fusion, [N, D] of a layer, [N, L, D] of a
            readout.
        y: pair of what comes out, without the model's activation behind it.
        mask: bool, who has something in x: [N], of a fusion [N, M]; None where all have.
        rows: bool [N], of a fusion [N, M]: where activations may be compared, at training nodes that have something
            (of a layer: behind it).
        graph: the edge set, or None.
    """

    x: Pair
    y: Pair
    mask: Array | None
    rows: np.ndarray
    graph: Graph | None


class Alignment(Protocol):
    """A merging rule as a mechanism meets it. What it matches it writes into the first of the pair.

    Attributes:
        name: the rule's, for errors.
    """

    name: str

    def probe(self, y: Pair, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standardised activations [S, n] of both networks at some of the rows; y [..., n], rows bool [...]."""

    def neurons(self, kernels: Sequence[Pair], t_in: Map | None, y: Pair, rows: np.ndarray, heads: int = 1) -> Map:
        """The map of one set of neurons with outputs y [..., n] that several kernels [in, n] lead to.

        Args:
            kernels: pairs of parameters, all of which read features that are mapped by t_in (None: the same features).
            heads: into which the neurons fall, in equal blocks.
        """

    def linear(self, layers: Pair, t_in: Map | None, x: Pair, rows: np.ndarray) -> tuple[Map, Pair]:
        """The map of a linear layer's neurons, and the pair of its outputs, on inputs x [..., in]."""

    def mlp(self, mlps: Pair, t_in: Map | None, x: Pair, rows: np.ndarray) -> tuple[Map, Pair]:
        """The same of a linear layer, an activation and a linear layer (`nn.mlp.MLP`)."""

    def attention(
        self,
        parts: Pair,
        t_in: Map,
        x: Pair,
        rows: np.ndarray,
        queries: Pair | None = None,
        asking: np.ndarray | None = None,
    ) -> Map:
        """The map of what an attention of one head returns, whose layers are `query`, `key` and `value` of the parts.

        Args:
            x: pair of what is attended to, [N, M, D]; rows bool [N, M].
            queries: pair of what the queries are made of, [N, D], asking bool [N]; x itself if None.
        """

    def encoder(self, layers: Pair, t: Map, outputs: Mapping[str, Pair], rows: np.ndarray, heads: int) -> Map:
        """The map behind a pre-norm transformer block: norm1, attention, join, norm2, ff0, ff1, join.

        Args:
            layers: pair of {"norm1", "q", "k", "v", "o", "norm2", "ff0", "ff1": layer}.
            t: map of the tokens it is given.
            outputs: of the layers but the norms (before the activation of ff0), and "before", the tokens themselves.
        """


def read(layer: Any) -> Layer:
    """A linear layer or a norm as float64 arrays by name, without those that it does not have."""
    found = {n: getattr(layer, n, None) for n in ("kernel", "bias", "scale")}
    return {n: np.asarray(v[...], np.float64) for n, v in found.items() if v is not None}


def write(layer: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """The reverse of `read`."""
    for name, value in arrays.items():
        put(getattr(layer, name), value)


def put(variable: Any, value: np.ndarray) -> None:
    """Sets a parameter, in its own shape and dtype."""
    variable[...] = jnp.asarray(value.reshape(variable.shape), variable.dtype)


def follow(variable: Any, t: Map) -> None:
    """A parameter with one number a feature (a bias, a learned token, the scale of a norm) goes where t takes those."""
    put(variable, np.asarray(variable[...], np.float64).reshape(-1) @ t)


def change_units(layer: Any, factor: Array, offset: Array) -> None:
    """A linear layer as it reads x' where it read x = factor x' + offset: x W + b = x' (factor W) + b + offset W."""
    kernel = layer.kernel[...]
    layer.bias[...] = layer.bias[...] + offset @ kernel
    layer.kernel[...] = factor[:, None] * kernel


def concatenated(states: States) -> Pair:
    """A fusion's inputs side by side, [N, M D], with 0 where a node lacks the modality."""
    return tuple(jnp.where(jnp.asarray(states.mask)[..., None], a, 0).reshape(len(a), -1) for a in states.x)


def name_of(mechanism: Any) -> str:
    """A mechanism's name, that of its file or package."""
    file = pathlib.Path(inspect.getfile(type(mechanism)))
    return file.parent.name if file.stem == "__init__" else file.stem


def overriding(kind: str, base: type, method: str) -> list[str]:
    """The mechanisms of a kind that define a method which their base class leaves open."""
    return [n for n in zoo.names(kind) if getattr(zoo.get(kind, n), method) is not getattr(base, method)]


def no_rule(walk: Alignment | type[Alignment], kind: str, base: type, mechanism: Any) -> ValueError:
    """What is raised for a mechanism that does not say how it is aligned; names those that do."""
    known = ", ".join(overriding(kind, base, "align"))
    return ValueError(f"{walk.name} has no rule for the {kind} {name_of(mechanism)!r}; it knows: {known}")
