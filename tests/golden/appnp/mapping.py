"""APPNP: predictions, the normalised adjacency, the power iteration, log-probabilities; its limit in closed form."""

import jax
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.appnp import Appnp
from fusion_jax.nn.adjacency import convolve
from tests.helpers import assign

ROUNDS = 400  # (1 - alpha)^400 is below 1e-17 for alpha >= 0.1


def graph_of(adjacency):
    receivers, senders = np.nonzero(adjacency)
    return Graph.create(senders, receivers, len(adjacency), {"weight": adjacency[receivers, senders]})


def model(case):
    first, last = case["param/fcs.0.weight"], case["param/fcs.1.weight"]
    options = dict(hops=int(case["option/niter"]), alpha=float(case["option/alpha"]))
    module = Appnp(len(first), len(last), hidden=first.shape[1], rngs=nnx.Rngs(0), **options)
    assign(module, {"fc1.kernel": first, "fc2.kernel": last.T})  # the first is stored as (in, out)
    graph = graph_of(case["in/adjacency"])
    yield "A_hat", convolve(np.eye(graph.num_nodes), graph, "symmetric"), case["out/A_hat"]
    local = module.predict(case["in/x"])
    yield "local", local, case["out/local"]
    yield "propagated", module.propagated(local, graph), case["out/propagated"]
    yield "y", jax.nn.log_softmax(module(case["in/x"], graph)), case["out/y"]


def exact(case):
    local = case["in/local"]
    module = Appnp(local.shape[1], hops=ROUNDS, alpha=float(case["option/alpha"]), rngs=nnx.Rngs(0))
    run = jax.jit(lambda x: module.propagated(x, graph_of(case["in/adjacency"])))
    yield "y", run(local), case["out/y"]
