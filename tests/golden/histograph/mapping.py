"""HistoGraph: both forms of the graph readout, and the node readout up to the same steps."""

import jax
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.histograph import layer_code
from fusion_jax.readouts.histograph import HistoGraph
from fusion_jax.readouts.histograph_node import HistoGraphNode
from tests.helpers import assign, linear, run


def graph_of(case) -> Graph:
    """The batch of the case; the readout looks at no edge."""
    return Graph.create(np.zeros(0, int), np.zeros(0, int), np.bincount(case["graph_id"]))


def values(case, form):
    out = linear("attention.emb_hist", case, "param/emb_hist.weight", "param/emb_hist.bias")
    for name in ("W_Q", "W_K"):
        out |= linear(f"attention.{name}", case, f"param/{name}", transpose=False)
    for ours, theirs in {"query": "q", "key": "k", "value": "v", "out": "o"}.items():
        weight = f"param/mhsa.{theirs}"
        out |= linear(f"attention.mhsa.{ours}", case, f"{weight}.weight", f"{weight}.bias")
    if form == "gated":
        out |= {"attention.ln.scale": case["param/ln.weight"], "attention.ln.bias": case["param/ln.bias"]}
    return out


def build(cls, case, form):
    _, layers, dim = case["activations"].shape
    options = dict(form=form, heads=int(case["cfg_heads"]), out_dim=case["H"].shape[1])
    module = nnx.eval_shape(lambda: cls(dim, layers, **options, rngs=nnx.Rngs(0)))
    own = {"gate_logit": case["param/gate_logit"]} if form == "gated" and cls is HistoGraph else {}
    return assign(module, values(case, form) | own)


def in_steps(module, history, graph):
    """The steps of the attention, the output, and in the gated form what it is mixed of."""
    steps = module.attention(history, graph)
    parts = None if module.gate_logit is None else module.parts(steps, graph)
    return steps, module(history, graph).out, parts


def common(case, form):
    """What both forms compute, by the graph readout; the node readout's output against the last of it."""
    graph, history = graph_of(case), case["activations"]
    steps, out, parts = run(build(HistoGraph, case, form), history, graph, by=in_steps)
    yield "positional", layer_code(*case["positional"].shape), case["positional"]
    yield "layer_aware", steps.states, case["layer_aware"]
    yield "node_logits", steps.logits, case["node_logits"]
    yield "c", steps.c, case["c"]
    yield "alpha", steps.alpha, case["alpha"]
    # What the weights would be with a softmax, which they are not: it pins c once more.
    yield "alpha_softmax_variant", jax.nn.softmax(steps.c), case["alpha_softmax_variant"]
    yield "H", steps.summed, case["H"]
    yield "Z", steps.attended, case["Z"]
    yield "graph_embedding", out, case["graph_embedding"]
    last = case["Z_residual_norm"] if form == "gated" else case["Z"]
    yield "node readout", run(build(HistoGraphNode, case, form), history, graph).out, last
    if form == "gated":
        read, mean, gate = parts
        yield "Z_residual_norm", steps.out, last
        yield "graph_history", read, case["graph_history"]
        yield "graph_last", mean, case["graph_last"]
        yield "gate", gate, case["gate"]


def readout(case):
    yield from common(case, "core")


def readout_gated(case):
    yield from common(case, "gated")
