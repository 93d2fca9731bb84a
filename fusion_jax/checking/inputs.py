"""What mechanisms are asked with: a small graph with weights, times and views, padded, permuted; contexts and rates."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax import study, tasks, zoo
from fusion_jax.data import Dataset
from fusion_jax.data import load as load_data
from fusion_jax.graphs import Graph
from fusion_jax.plan import Plan
from fusion_jax.records import Context, Target
from fusion_jax.structures.base import Structure, derive
from fusion_jax.study import defaults

N, M, D, C = 7, 3, 16, 3
PADDING = 2  # nodes at the end without modalities, joined only to each other
LABELS = np.arange(N + PADDING, dtype=np.int32) % C
TRAIN = np.arange(N + PADDING) < 4
PRESENT = np.array([1, 1, 0, 1, 0, 1, 1], bool)  # who is there in the stream of one modality

SMALL = {
    "data.name": "synthetic",
    "data.options": dict(nodes=60, modalities=2, classes=2, dim=6, missing=0.2, redundant=0.6, unique=0.6),
    "model.dim": 8,
    "model.layers": 1,
    "model.fusion.name": "mean",
    "training.seed_axis": "map",
}


def rates(kind: str, name: str) -> list[str]:
    """The options that are rates of dropout."""
    return [option for option in zoo.options(kind, name) if option == "rate" or option.endswith("_rate")]


def only(kind: str, name: str, rate: str) -> dict[str, float]:
    """The options of which one rate is 1/2, and all others 0."""
    return {option: 0.5 if option == rate else 0.0 for option in rates(kind, name)}


def context(rows: int = N, key: jax.Array | None = None) -> Context:
    """What mechanisms may know, labels of the first nodes too; with a key that of training."""
    train = jnp.asarray(TRAIN[:rows])
    target = Target("classes", labels=jnp.asarray(LABELS[:rows]), num_outputs=C)
    target = tasks.of(target).hide_unseen(target, train)
    epoch = {} if key is None else dict(step=jnp.int32(2), total=10)
    return Context(key=key, target=target, train=train, **epoch)


def reordered(told: Context, order: np.ndarray) -> Context:
    """The context of nodes in another order."""
    target = dataclasses.replace(told.target, labels=told.target.labels[order])
    return dataclasses.replace(told, target=target, train=told.train[order])


def small_graph(n: int = 7, num_edges: int = 18, seed: int = 0) -> Graph:
    """A random graph whose last node receives nothing."""
    rng = np.random.default_rng(seed)
    return Graph.create(rng.integers(0, n, num_edges), rng.integers(0, n - 1, num_edges), n)


def graphs(modalities: int, structures: tuple[Structure, ...] = ()) -> Graph:
    """N nodes and edges of their own for each modality."""
    rng = np.random.default_rng(5)

    def one(seed, views=()):
        g = small_graph(N, 20, seed)
        e = g.num_edges
        edges = {"weight": rng.random(e).astype(np.float32) + 0.1, "time": rng.random(e).astype(np.float32)}
        return Graph.create(np.asarray(g.senders), np.asarray(g.receivers), N, edges, views)

    made = one(0, tuple(one(1 + m) for m in range(modalities)))
    return derive([made], structures, structures)[0] if structures else made


def padded(graph: Graph, structures: tuple[Structure, ...] = ()) -> Graph:
    """The graph with PADDING more nodes and some edges among them."""
    n = graph.num_nodes
    extra = np.arange(n, n + PADDING)
    edges = {k: np.concatenate([v, np.zeros((PADDING, *v.shape[1:]), v.dtype)]) for k, v in graph.edges.items()}
    made = Graph.create(
        np.concatenate([np.asarray(graph.senders), extra]),
        np.concatenate([np.asarray(graph.receivers), extra[::-1]]),
        np.concatenate([np.asarray(graph.jraph.n_node), [PADDING]]),
        edges,
        tuple(padded(v) for v in graph.views),
    )
    return derive([made], structures, structures)[0] if structures else made


def permuted(graph: Graph, order: np.ndarray) -> Graph:
    """The graph, and its structures, of the nodes in another order: row i is the one that was row order[i]."""
    rank = np.argsort(order)
    made = Graph.create(
        rank[np.asarray(graph.senders)],
        rank[np.asarray(graph.receivers)],
        np.asarray(graph.jraph.n_node),
        {k: np.asarray(v) for k, v in graph.edges.items()},
        tuple(permuted(v, order) for v in graph.views),
    )
    return dataclasses.replace(made, derived={k: record.permuted(order) for k, record in graph.derived.items()})


def of_present(graph: Graph, present: np.ndarray) -> Graph:
    """The graph of the present nodes alone."""
    s, r = np.asarray(graph.senders), np.asarray(graph.receivers)
    rank, kept = np.cumsum(present) - 1, present[s] & present[r]
    edges = {k: np.asarray(v)[kept] for k, v in graph.edges.items()}
    return Graph.create(rank[s[kept]], rank[r[kept]], int(present.sum()), edges)


def planted(changes: dict) -> tuple[Dataset, Plan]:
    """60 nodes of two classes with two modalities, some missing, and a small model's plan with these changes."""
    config = defaults.get_config()
    for key, value in {**SMALL, **changes}.items():
        study.set_key(config, key, value)
    plan = study.resolve(config).plan
    return load_data(plan.data.name, **plan.data.options), plan
