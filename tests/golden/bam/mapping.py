"""BAM: the block along the edges of a causal mask, its mixtures, their gates and the losses of the router."""

import jax
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.bam import BAM
from fusion_jax.records import EVALUATION
from tests.helpers import assign, linear, run

EXPERTS = {"query": "attn.{}.q", "key": "attn.{}.k", "value": "attn.{}.v", "out": "attn.{}.o"}
EXPERTS |= {name: f"ffn.{{}}.{name}" for name in ("gate", "up", "down")}


def layer(case):
    batch, length, dim = case["x"].shape
    heads, experts, k = (case[f"cfg_{name}"].item() for name in ("heads", "experts", "topk"))
    shared = bool(case["cfg_shared_kv"])
    hidden = case["param/ffn.0.gate.weight"].shape[0]
    attention = "shared_kv" if shared else "expert_kv"
    options = dict(heads=heads, experts=experts, k=k, hidden=hidden, attention=attention, balance=1.0, z=1.0)
    block = nnx.eval_shape(lambda: BAM(dim, **options, rngs=nnx.Rngs(0)))
    values = {"norm.scale": case["param/norm.weight"], "norm.bias": case["param/norm.bias"]}
    for router in ("router_attn", "router_ffn") if experts > 1 else ():
        values |= linear(router, case, f"param/{router}.weight")
    for ours, theirs in EXPERTS.items():
        once = shared and ours in ("key", "value")
        kernels = [case[f"param/{theirs.format(i)}.weight"].T for i in (["shared"] if once else range(experts))]
        values[ours] = np.stack(kernels)
    assign(block, values)
    senders, receivers = np.nonzero(np.triu(np.ones((length, length)), 1))
    starts = length * np.arange(batch)[:, None]
    graph = Graph.create((starts + senders).ravel(), (starts + receivers).ravel(), np.full(batch, length))
    x = case["x"].reshape(-1, dim)
    steps = jax.tree.map(np.asarray, run(block, x, graph, by=BAM.steps))

    def back(array):
        return array.reshape(batch, length, *array.shape[1:])

    yield "y", back(np.asarray(run(block, x, graph))), case["y"]
    for name in ("attn_gate", "attn_expert_out", "attn_out", "ffn_prob", "ffn_out"):
        yield name, back(getattr(steps, name)), case[name]
    _, sent = np.nonzero(steps.ffn_chosen)
    yield "ffn_topk_index", back(sent.reshape(-1, k)), np.sort(case["ffn_topk_index"], -1)
    if experts > 1:  # a dense block has no router, and nothing to balance
        losses = run(block, x, graph, by=losses_of)
        yield "loss_load_balance", losses["balance"], case["loss_load_balance"]
        yield "loss_router_z", losses["router_z"], case["loss_router_z"]


def losses_of(block, x, graph):
    return block.losses(x, graph, None, EVALUATION)
