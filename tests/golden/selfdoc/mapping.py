"""SelfDoc's cross-modality layer: sequences of length L as complete graphs of L nodes, streams a and b."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.selfdoc import CrossModalityLayer
from fusion_jax.graphs import Graph
from tests.helpers import assign

# our block: the reference's attentions whose values are stream a's and stream b's
BLOCKS = {
    "cross1": ("cross1_a", "cross1_b"),
    "self1": ("self1_a", "self1_b"),
    "cross2": ("cross2_qk_b_v_a", "cross2_qk_a_v_b"),
    "self2": ("self2_a", "self2_b"),
}
PARTS = {"attention.query": "q", "attention.key": "k", "attention.value": "v", "attention.out": "o"}


def complete(batch, length):
    """`batch` complete graphs; edges in the order (batch, receiver, sender)."""
    nodes = np.arange(batch * length).reshape(batch, length)
    receivers = np.broadcast_to(nodes[:, :, None], (batch, length, length))
    senders = np.broadcast_to(nodes[:, None, :], (batch, length, length))
    return Graph.create(senders.ravel(), receivers.ravel(), np.full(batch, length))


def parameters(case):
    values = {}
    for ours, names in BLOCKS.items():

        def stacked(leaf, names=names):
            return np.stack([case[f"param/{n}.{leaf}"] for n in names])

        for path, part in PARTS.items():
            values |= {f"{ours}.{path}.{leaf}": stacked(f"{part}.{leaf}") for leaf in ("kernel", "bias")}
        values |= {f"{ours}.norm.{leaf}": stacked(f"ln.{leaf}") for leaf in ("scale", "bias")}
    return values


def cross_modality_layer_numpy(case):
    batch, length, dim = case["in/a"].shape
    heads = case["out/cross1_a_weights"].shape[1]
    layer = CrossModalityLayer(2, dim, heads, ffn=False, rate=0.0, rngs=nnx.Rngs(0))
    assign(layer, parameters(case))
    graph = complete(batch, length)
    x = jnp.asarray(np.stack([case["in/a"], case["in/b"]], axis=2).reshape(-1, 2, dim))
    # the mask of the case says who may be attended; all tokens ask, the masked ones too
    seen = np.broadcast_to(case["in/mask"].reshape(-1)[np.asarray(graph.senders), None], (graph.num_edges, 2))
    steps = layer(x, jnp.ones((batch * length, 2), bool), graph, *(jnp.asarray(seen),) * 3)
    for step, (ours, names) in zip(steps, BLOCKS.items(), strict=True):
        weights = np.asarray(step.weights).reshape(batch, length, length, 2, heads)
        for stream, name in enumerate(names):
            yield f"{name}_weights", np.moveaxis(weights[..., stream, :], -1, 1), case[f"out/{name}_weights"]
            if ours.startswith("cross"):
                core = step.core[:, stream].reshape(batch, length, dim)
                yield f"{name}_core", core, case[f"out/{name}_core"]
    for stream, name in enumerate("ab"):

        def streams(i, stream=stream):
            return steps[i].streams[:, stream].reshape(batch, length, dim)

        yield f"{name}_after_stage1", streams(1), case[f"out/{name}_after_stage1"]
        yield f"{name}_out", streams(3), case[f"out/{name}_out"]
