"""A graph with loops, edges that are there twice and weights, and models on it: for what computes parts of it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.model import Model
from fusion_jax.plan import LayerPlan, Named
from fusion_jax.records import Batch, Target
from tests.helpers import to_float64

NODES, EDGES, DIMS, CLASSES, WIDTH = 23, 90, {"b": 3, "a": 2}, 3, 4
LOCAL = sorted(name for name in zoo.names("layer") if zoo.get("layer", name).local)
EVERY = [(layer, placement) for layer in LOCAL for placement in ("before", "after")]
EVERY += [("sage", "interleaved"), ("sage", "decision")]  # layer, placement


def graph(weights: bool = True) -> Graph:
    """A few nodes receive most edges, the last receives none."""
    rng = np.random.default_rng(1)
    senders, receivers = rng.integers(0, NODES, EDGES), (rng.random(EDGES) ** 2 * (NODES - 1)).astype(int)
    senders[:5] = receivers[:5]  # loops
    senders[5:8], receivers[5:8] = senders[8:11], receivers[8:11]  # twice
    return Graph.create(senders, receivers, NODES, {"weight": rng.uniform(0.2, 2, EDGES)} if weights else {})


def batch(of: Graph, missing: float = 0.3) -> Batch:
    rng = np.random.default_rng(2)
    features = {name: jnp.asarray(rng.normal(size=(NODES, d))) for name, d in DIMS.items()}
    mask = rng.random((NODES, len(DIMS))) >= missing
    mask[0] = False if missing else True  # a node that has nothing at all
    return Batch(features, jnp.asarray(mask), of)


def model(placement: str, layer: str, **more: Any) -> Model:
    given = {"fusion": Named("self_attention"), "layers": 2, "encoder": Named("mlp"), **more}
    target = Target("classes", labels=np.zeros(NODES, np.int32), num_outputs=CLASSES)
    own = dict(dim=WIDTH, readout=Named("last"), layer=LayerPlan(layer), rngs=nnx.Rngs(0))
    return to_float64(Model(DIMS, target, placement=placement, **own, **given))


def largest_degree(of: Graph) -> int:
    return int(np.diff(of.row_ptr).max())
