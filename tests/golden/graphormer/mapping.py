"""Graphormer: degrees, distances, who sees whom, biases, features with degrees, and the layer, without graph token."""

import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.graphormer import Graphormer
from fusion_jax.structures.base import derive
from tests.helpers import assign
from tests.torch_names import torch_linear, torch_norm

PARTS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}


def layer(case):
    x, cutoff = case["in/x"], int(case["option/spatial_pos_max"])
    degrees = case["param/in_degree_encoder"] + case["param/out_degree_encoder"]  # undirected: one index for both
    module = Graphormer(
        x.shape[1],
        heads=int(case["option/heads"]),
        hidden=len(case["param/fc1.bias"]),
        cutoff=cutoff,
        degrees=len(degrees) - 1,
        norm_first=bool(case["option/pre_layernorm"]),
        activation=str(case["option/activation"]),
        rngs=nnx.Rngs(0),
    )
    # row 0 of their tables is that of padding
    values = {"degree_encoder": degrees[1:], "spatial_pos_encoder": case["param/spatial_pos_encoder"][1 : cutoff + 1]}
    for ours, theirs in PARTS.items():
        values |= torch_linear(f"self_attn.{ours}", case, f"param/self_attn.{theirs}")
    for name in ("fc1", "fc2"):
        values |= torch_linear(name, case, f"param/{name}")
    for name in ("self_attn_layer_norm", "final_layer_norm"):
        values |= torch_norm(name, case, f"param/{name}")
    assign(module, values)
    receivers, senders = np.nonzero(case["in/adjacency"])
    (graph,) = derive([Graph.create(senders, receivers, case["in/n_node"])], module.structures)
    places = graph.structure(module.structures[0])
    yield "in_degree", module.degree(graph, None) + 1, case["out/in_degree"]  # theirs are shifted by the padding's 0
    valid = np.asarray(places.valid)
    pairs = valid[:, :, None] & valid[:, None]
    theirs = np.where(pairs, np.minimum(case["out/spatial_pos"] - 1, cutoff), cutoff)
    yield "spatial_pos", np.asarray(places.hops), theirs
    seen, _ = module.seen(places, None)
    yield "seen", seen, case["out/seen"]
    shown = np.asarray(seen)[:, None]
    yield "bias", np.where(shown, module.bias(places), 0), np.where(shown, case["out/bias"], 0)
    yield "centred", module.centred(x, graph, None), case["out/centred"]
    yield "y", module(x, graph), case["out/y"]
