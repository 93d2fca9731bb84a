"""Small graphs with planted truth: the class is a motif of the edges and a combination of the modalities.

A graph is a tree of some nodes. Its class is 2 a + b, with two fair and independent bits:

- a, the motif: the tree is a path (a = 0), or a path that ends in a hub, whose other neighbours are `leaves`
  leaves (a = 1). Numbers of nodes and edges tell nothing, the largest degree tells all: 2 against leaves + 1.
- b, the combination: every node n holds a sign s_nm in {-1, 1} in each modality m, and their product over the
  modalities is 1 - 2 b at every node of the graph. Any M - 1 of the signs are uniform and independent of b.

Modality m is s_nm q_m + noise * N(0, I), q_m a direction of length 1 in [dim]. Without the edges, or without any
one of the modalities, half of the graphs are classified rightly at best, without both a quarter; `best_rule` reads
both bits. Degrees do not show in a mean over neighbours, and hardly in the mean over nodes of what a symmetrically
normalised layer makes of them, so the first bit is also a test of the graph layer and the readout.
"""

from __future__ import annotations

import hashlib
import json

import jraph
import numpy as np

from fusion_jax.data import splits
from fusion_jax.data.base import Dataset, Provenance, Summary, edge_set
from fusion_jax.records import Target

SOURCE = "made here from its options"
LICENCE = "Apache-2.0"
FILES = None
CHECKSUM = ""  # of its options, see `load`
SUMMARY = Summary(nodes=2400, modalities={"m0": 8, "m1": 8}, classes=4, graphs=("trees",))
CLASSES = ("path, even", "path, odd", "hub, even", "hub, odd")


def load(
    graphs: int = 240,
    smallest: int = 8,
    largest: int = 12,
    modalities: int = 2,
    dim: int = 8,
    leaves: int = 6,
    noise: float = 0.2,
    missing: float = 0.0,
    train: float = 0.4,
    val: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Modalities `m0`, `m1`, ... [dim each]; graph `trees`, a batch of G; labels of graphs.

    Args:
        graphs: G; the four classes have one size, as nearly as it goes.
        smallest, largest: node counts, all of this range in turn.
        modalities, dim: M, from 2 up, and the width of every modality.
        leaves: of the hub, from 2 up to the smallest node count less 2.
        noise: standard deviation of the noise on every feature.
        missing: in [0, 1), probability that a node lacks a modality; every node keeps at least one.
        train, val: shares of the graphs of every class; the rest is test.
        seed: of the data; the split has its own.
    Raises:
        ValueError: an option out of range.
    """
    options = dict(locals())
    _check(**options)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(graphs) % 4).astype(np.int32)
    n_node = smallest + rng.permutation(np.arange(graphs) % (largest - smallest + 1))
    nodes = int(n_node.sum())
    edges = _edges(rng, labels // 2, n_node, leaves)
    mask = rng.random((nodes, modalities)) >= missing
    mask[np.flatnonzero(~mask.any(1)), rng.integers(modalities, size=int((~mask.any(1)).sum()))] = True
    signs = rng.choice([-1, 1], size=(nodes, modalities))
    signs[:, -1] = np.repeat(1 - 2 * (labels % 2), n_node) * signs[:, :-1].prod(1)
    directions = _directions(modalities, dim, seed)
    features = {}
    for m in range(modalities):
        x = signs[:, [m]] * directions[m] + noise * rng.normal(size=(nodes, dim))
        features[f"m{m}"] = np.where(mask[:, [m]], x, 0).astype(np.float32)
    text = "synthetic_graphs 1 " + json.dumps(options, sort_keys=True)
    return Dataset(
        name="synthetic_graphs",
        features=features,
        mask=mask,
        graphs={"trees": edges},
        target=Target("classes", labels=labels, num_outputs=4, level="graph"),
        splits=splits.fractions(labels, train, val),
        provenance=Provenance(SOURCE, LICENCE, hashlib.sha256(text.encode()).hexdigest()),
        class_names=CLASSES,
        default_graph="trees",
    )


def _check(*, graphs, smallest, largest, modalities, dim, leaves, noise, missing, seed, **shares) -> None:
    def fail(option: str, value, expected: str):
        raise ValueError(f"data set 'synthetic_graphs': {option}={value}, expected {expected}")

    for option, value, least in (
        ("graphs", graphs, 4),
        ("modalities", modalities, 2),
        ("dim", dim, 1),
        ("largest", largest, smallest),
        ("leaves", leaves, 2),
        ("noise", noise, 0),
        ("seed", seed, 0),
    ):
        if not value >= least:
            fail(option, value, f"at least {least}")
    if smallest < leaves + 2:
        fail("smallest", smallest, f"at least {leaves + 2}, room for a hub with {leaves} leaves and a neighbour")
    if not 0 <= missing < 1:
        fail("missing", missing, "a number in [0, 1)")
    for option, value in shares.items():
        if not 0 < value < 1:
            fail(option, value, "a number in (0, 1)")


def _directions(modalities: int, dim: int, seed: int) -> np.ndarray:
    """q_m, [M, dim], from a stream of random numbers of their own, so that `best_rule` finds them again."""
    q = np.random.default_rng([seed, 1]).normal(size=(modalities, dim))
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def _edges(rng, hub: np.ndarray, n_node: np.ndarray, leaves: int) -> jraph.GraphsTuple:
    pairs = []
    for start, n, with_hub in zip(np.cumsum(n_node) - n_node, n_node, hub, strict=True):
        order = start + rng.permutation(n)  # so that the order of the nodes tells nothing
        parent = np.arange(n - 1)  # of nodes 1 ... n - 1: the one before
        if with_hub:
            parent[-leaves:] = n - 1 - leaves
        pairs.append(np.stack([order[1:], order[parent]], 1))
    a, b = np.concatenate(pairs).T
    return edge_set(np.concatenate([a, b]), np.concatenate([b, a]), n_node)


def best_rule(data: Dataset, noise: float = 0.2, seed: int = 0) -> np.ndarray:
    """The class [G] that the optimum says, which knows the directions and the noise (the options of `load`).

    a is read from the largest degree, without error. Given x, the odds of b = 0 against b = 1 are those of an
    even against an odd number of negative signs, independent over nodes: their logarithm is the sum over nodes of
    2 artanh(prod_m tanh(q_m . x_m / noise^2)), a missing modality having tanh 0.
    """
    g = data.graphs["trees"]
    of_node = np.repeat(np.arange(len(g.n_node)), g.n_node)
    degree = np.bincount(g.receivers, minlength=data.num_nodes)
    most = np.zeros(len(g.n_node), int)
    np.maximum.at(most, of_node, degree)
    q = _directions(len(data.features), next(iter(data.features.values())).shape[1], seed)
    along = np.stack([x @ q[m] for m, x in enumerate(data.features.values())], axis=1).astype(float)
    product = np.tanh(along / max(noise, 1e-3) ** 2).prod(1)
    odds = np.bincount(of_node, 2 * np.arctanh(np.clip(product, -1 + 1e-12, 1 - 1e-12)))
    return 2 * (most > 2) + (odds < 0)
