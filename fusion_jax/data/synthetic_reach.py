"""Planted truth for what looks far: the class of a node is a combination of modalities of a node that far away.

Every graph is a tree: some beacons, each at the end of a corridor, a hub where the corridors meet, and readers around
the hub, so that every reader is `distance` edges from every beacon:

    beacon 0 - . - . - hub - reader 0
    beacon 1 - . - . -'   \\- reader 1

- A beacon j holds a symbol u_j in modality `a` and another, v_j, in `b`, uniform on C classes, and a mark in both. Each
  of the beacons of a graph has another key.
- A reader holds the key of one beacon. Its label is (u_j + v_j) mod C of that beacon: neither u_j nor v_j alone tells
  anything, nor does another beacon.
- Keys are in both modalities. Symbols, marks and keys are one-hot codes with noise * N(0, I) on every column; nodes of
  the corridors and the hub have the noise alone. Only readers are labelled, and all readers of a graph are in one part
  of the split.

What reaches less far than `distance` is right in 1 of C cases. What reads the combination of some beacon, but not of
the reader's own, is right with probability 1/B + (1 - 1/B) / C. `posterior` is the best classifier, `bayes_accuracy`
how often it is right. Message passing of so many rounds finds all there is: distance is told by the edges alone.
"""

from __future__ import annotations

import dataclasses
import itertools

import jraph
import numpy as np

from fusion_jax.arrays import refuse
from fusion_jax.data import splits
from fusion_jax.data._planted import LICENCE, SOURCE, completed, provenance
from fusion_jax.data.base import Dataset, Summary, edge_set
from fusion_jax.records import Target

FILES = None
CHECKSUM = ""  # of its options, see `load`
SUMMARY = Summary(nodes=6400, modalities={"a": 8, "b": 8}, classes=2, graphs=("trees",))

__all__ = ["LICENCE", "SOURCE", "Drawn", "bayes_accuracy", "draw", "load", "posterior"]


@dataclasses.dataclass(frozen=True)
class Drawn:
    """The data and what is hidden in them. G graphs, B beacons and R readers in each, C classes.

    Attributes:
        options: what it was drawn with.
        features: [N, 2, dim], before anything is missing.
        mask: bool [N, 2].
        pairs: int [E, 2], the edges of the trees, each once.
        n_node: int [G].
        beacons: int [G, B], their node ids.
        readers: int [G, R].
        labels: int [G, R].
        keys: int [G, B], of the beacons.
        asked: int [G, R], the key of each reader.
        symbols: int [G, B, 2].
    """

    options: dict
    features: np.ndarray
    mask: np.ndarray
    pairs: np.ndarray
    n_node: np.ndarray
    beacons: np.ndarray
    readers: np.ndarray
    labels: np.ndarray
    keys: np.ndarray
    asked: np.ndarray
    symbols: np.ndarray


def load(
    graphs: int = 400,
    distance: int = 5,
    beacons: int = 2,
    readers: int = 7,
    classes: int = 2,
    dim: int = 8,
    noise: float = 0.2,
    missing: float = 0.0,
    train: float = 0.5,
    val: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Modalities `a` and `b` [dim each]; graph `trees`, a batch of G; labels of the readers.

    Args:
        graphs: G.
        distance: edges between a reader and a beacon, at least 1; a graph has B (distance - 1) + 1 + R nodes (of
            distance 1 B + R, without a hub).
        beacons, readers, classes: B, R, C.
        dim: columns of a modality, at least C + 1 + B; those behind the codes have noise alone.
        noise: standard deviation of the noise on every column.
        missing: in [0, 1), probability that a node lacks a modality; every node keeps at least one.
        train, val: shares of the graphs; the rest is test.
        seed: of the data; the split has its own.
    Raises:
        ValueError: an option out of range.
    """
    options = dict(locals())
    drawn = draw(**options)
    nodes = len(drawn.mask)
    labels, labelled, graph_of = np.zeros(nodes, np.int32), np.zeros(nodes, bool), np.full(nodes, -1)
    labels[drawn.readers], labelled[drawn.readers] = drawn.labels, True
    graph_of[drawn.readers] = np.arange(graphs)[:, None]
    features = np.where(drawn.mask[..., None], drawn.features, 0).astype(np.float32)
    a, b = drawn.pairs.T
    trees: jraph.GraphsTuple = edge_set(np.concatenate([a, b]), np.concatenate([b, a]), drawn.n_node)
    return Dataset(
        name="synthetic_reach",
        features={"a": features[:, 0], "b": features[:, 1]},
        mask=drawn.mask,
        graphs={"trees": trees},
        target=Target("classes", labels=labels, num_outputs=classes),
        splits=splits.whole_groups(graph_of, train, val, called="graphs"),
        provenance=provenance("synthetic_reach", options),
        class_names=tuple(str(c) for c in range(classes)),
        default_graph="trees",
        labelled=labelled,
    )


def _check(*, graphs, distance, beacons, readers, classes, dim, noise, missing, train, val, seed) -> None:
    where = "data set 'synthetic_reach'"
    least = dict(graphs=3, distance=1, beacons=1, readers=1, classes=2, dim=classes + 1 + beacons, seed=0)
    given = dict(
        graphs=graphs, distance=distance, beacons=beacons, readers=readers, classes=classes, dim=dim, seed=seed
    )
    for name, value in given.items():
        if type(value) is not int or value < least[name]:
            refuse(where, f"{name}={value!r}", f"a whole number, at least {least[name]}")
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not noise >= 0:
        refuse(where, f"noise={noise!r}", "a number, at least 0")
    for name, value in dict(missing=missing, train=train, val=val).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            refuse(where, f"{name}={value!r}", "a number in [0, 1)")


def draw(**options) -> Drawn:
    """What `load` makes its data set from, by the same options and defaults.

    Raises:
        ValueError: an option out of range, or that `load` has not.
    """
    o = completed("synthetic_reach", load, options)
    _check(**o)
    rng = np.random.default_rng(o["seed"])
    graphs, many, readers, c = o["graphs"], o["beacons"], o["readers"], o["classes"]
    tree = _tree(many, readers, o["distance"])
    size = int(tree.max()) + 1
    order = np.argsort(rng.random((graphs, size)), axis=1) + size * np.arange(graphs)[:, None]  # ids tell nothing
    n = graphs * size
    symbols = rng.integers(c, size=(graphs, many, 2))
    keys = np.argsort(rng.random((graphs, many)), axis=1)
    asked = (rng.permutation(graphs * readers) % many).reshape(graphs, readers)
    place = np.argsort(keys, axis=1)  # of the beacon that has a key
    told = symbols.sum(2) % c
    labels = np.take_along_axis(told, np.take_along_axis(place, asked, axis=1), axis=1).astype(np.int32)
    beacons, ends = order[:, :many], order[:, size - readers :]
    x = o["noise"] * rng.normal(size=(n, 2, o["dim"]))
    x[beacons, :, c] += 1
    for m in range(2):
        np.add.at(x, (beacons, m, symbols[..., m]), 1)
        np.add.at(x, (beacons, m, c + 1 + keys), 1)
        np.add.at(x, (ends, m, c + 1 + asked), 1)
    mask = rng.random((n, 2)) >= o["missing"]
    mask[np.flatnonzero(~mask.any(1)), rng.integers(2, size=int((~mask.any(1)).sum()))] = True
    pairs = order[:, tree].reshape(-1, 2)
    return Drawn(o, x, mask, pairs, np.full(graphs, size, np.int32), beacons, ends, labels, keys, asked, symbols)


def _tree(beacons: int, readers: int, distance: int) -> np.ndarray:
    """The edges [E, 2] of one graph: beacons 0 ... B - 1, then corridors and hub, then the readers."""
    if distance == 1:
        ends = range(beacons, beacons + readers)
        return np.array([(j, i) for j in range(beacons) for i in ends])
    hub = beacons * (distance - 1)
    edges = []
    for j in range(beacons):
        inner = [beacons + j * (distance - 2) + step for step in range(distance - 2)]
        edges += itertools.pairwise([j, *inner, hub])
    return np.array(edges + [(hub, hub + 1 + i) for i in range(readers)])


def posterior(drawn: Drawn) -> np.ndarray:
    """p(y | data) [G, R, C] of the best classifier, which knows which nodes are beacons and readers.

    A one-hot code has p(symbol) = softmax(sum of its columns over the modalities that are there / noise^2). The label
    is the convolution of both symbols of the beacon, by the posterior of which beacon has the reader's key: keys of the
    beacons of a graph are a permutation.
    """
    o = drawn.options
    c, many = o["classes"], o["beacons"]
    x = drawn.features * drawn.mask[..., None] / max(o["noise"] ** 2, 1e-4)
    symbol = _softmax(x[drawn.beacons][..., :c])  # [G, B, 2, C]; uniform where missing
    log_key = _log_softmax(x[drawn.beacons][..., c + 1 : c + 1 + many].sum(2))  # [G, B, B]
    asked = _softmax(x[drawn.readers][..., c + 1 : c + 1 + many].sum(2))  # [G, R, B]
    orders = np.array(list(itertools.permutations(range(many))))  # key of every beacon
    log_order = log_key[:, np.arange(many), orders].sum(-1)  # [G, orders]
    order = _softmax(log_order)
    holds = np.einsum("go,obk->gbk", order, np.eye(many)[orders])  # [G, B, key]
    shifts = np.stack([np.roll(symbol[..., 1, ::-1], s + 1, axis=-1) for s in range(c)], axis=-2)  # v = s - u
    told = np.einsum("gbu,gbsu->gbs", symbol[..., 0, :], shifts)  # [G, B, C]
    return np.einsum("grk,gbk,gbs->grs", asked, holds, told)


def _log_softmax(z: np.ndarray) -> np.ndarray:
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def _softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(_log_softmax(z))


def bayes_accuracy(*, draws: int = 5_000, **options) -> float:
    """Accuracy of the best classifier: the mean of max_y p(y | data) over the readers of `draws` graphs.

    It does not depend on `distance`, which stands at 1 here for time.
    """
    return float(posterior(draw(**{**options, "graphs": draws, "distance": 1})).max(-1).mean())
