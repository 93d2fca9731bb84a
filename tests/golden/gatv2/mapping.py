"""GATv2: what the operator returns, and the attention of every edge, by its ends."""

import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.gatv2 import Gatv2
from fusion_jax.records import EVALUATION
from tests.helpers import assign


def conv(case):
    x, heads = case["in/x"], case["param/att"].shape[1]
    merge = "concat" if case["option/concat"] else "mean"
    share = bool(case["option/share_weights"])
    out = len(case["param/bias"])
    module = Gatv2(x.shape[1], out, heads=heads, merge=merge, share_weights=share, rngs=nnx.Rngs(0))
    values = {"att": case["param/att"][0], "bias": case["param/bias"]}
    for name in ("lin_l",) if share else ("lin_l", "lin_r"):
        values |= {f"{name}.kernel": case[f"param/{name}.weight"].T, f"{name}.bias": case[f"param/{name}.bias"]}
    assign(module, values)
    graph = Graph.create(case["in/senders"], case["in/receivers"], len(x))
    yield "y", module(x, graph), case["out/y"]
    (found,) = module.attention(x, graph, None, EVALUATION)
    order = np.lexsort(case["out/edge_index"])  # by receiver, then sender, as our edges are
    yield "senders", found.senders, case["out/edge_index"][0, order]
    yield "receivers", found.receivers, case["out/edge_index"][1, order]
    yield "alpha", found.weights, case["out/alpha"][order]
