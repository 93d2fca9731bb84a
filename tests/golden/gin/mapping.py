"""GIN: one layer with its ReLU, in evaluation and in training, where the running statistics are compared too."""

import jax
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.gin import Gin
from fusion_jax.records import EVALUATION, Context
from tests.helpers import assign, parameters

LINEARS = {"fc1": "mlps.0.linears.0", "fc2": "mlps.0.linears.1"}
NORMS = {"norm1": "mlps.0.batch_norms.0", "norm2": "batch_norms.0"}


def layer(case):
    hidden, dim = case["param/mlps.0.linears.0.weight"].shape
    out = len(case["param/mlps.0.linears.1.weight"])
    module = Gin(dim, out, hidden=hidden, learn_eps=bool(case["option/learn_eps"]), rngs=nnx.Rngs(0))
    values = {"eps": case["param/eps"][0]} if case["option/learn_eps"] else {}
    for ours, theirs in LINEARS.items():
        values |= {f"{ours}.kernel": case[f"param/{theirs}.weight"].T, f"{ours}.bias": case[f"param/{theirs}.bias"]}
    for ours, theirs in NORMS.items():
        names = dict(scale="weight", bias="bias", mean="running_mean", var="running_var")
        values |= {f"{ours}.{own}": case[f"param/{theirs}.{name}"] for own, name in names.items()}
    assign(module, values)
    receivers, senders = np.nonzero(case["in/adjacency"])
    graph = Graph.create(senders, receivers, case["in/n_node"])
    context = Context(key=jax.random.key(0)) if case["option/training"] else EVALUATION
    yield "y", jax.nn.relu(module(case["in/x"], graph, context=context)), case["out/y"]
    if case["option/training"]:
        for ours, theirs in NORMS.items():
            for own, name in dict(mean="running_mean", var="running_var").items():
                found = parameters(module)[f"{ours}.{own}"][...]
                yield f"{theirs}.{name}", found, case[f"out/{theirs}.{name}"]
