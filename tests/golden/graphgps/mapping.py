"""GraphGPS: the block with each local part, norm and mode; the two encodings of places, appended to mapped features."""

import dataclasses

import jax
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.graphgps import Graphgps
from fusion_jax.structures.base import Structure, derive
from tests.helpers import assign, parameters, prefixed
from tests.torch_names import torch_attention, torch_linear, torch_norm

KEY = jax.random.key(0)  # of training, where no rate is above 0
LOCALS = {"GINE": "gine", "GIN": "gin", "GCN": "gcn", "None": "none"}
NORMS = {"batch": "batch", "layer": "graph", "none": "none"}


def graph_of(adjacency, n_node=None):
    receivers, senders = np.nonzero(adjacency)
    return Graph.create(senders, receivers, len(adjacency) if n_node is None else n_node)


def norm_of(prefix, case, name):
    """Scale, bias and what a batch norm remembers."""
    own = dict(mean="running_mean", var="running_var")
    found = {f"{prefix}.{k}": case[f"{name}.{v}"] for k, v in own.items() if f"{name}.{v}" in case}
    return torch_norm(prefix, case, name) | found


def layer(case):
    x, local = case["in/x"], LOCALS[str(case["option/local"])]
    attention, norm = str(case["option/global"]) != "None", NORMS[str(case["option/norm"])]
    options = dict(local=local, attention=attention, norm=norm, encoding="none", heads=int(case["option/heads"]))
    module = Graphgps(x.shape[1], attention_rate=0.0, rngs=nnx.Rngs(0), **options)
    values = torch_linear("ff.fc1", case, "param/ff_linear1") | torch_linear("ff.fc2", case, "param/ff_linear2")
    if attention:
        values |= torch_attention("self_attn", case, "param/self_attn.")
    if local == "gcn":
        kernel, bias = case["param/local_model.lin.weight"].T, case["param/local_model.bias"]
        values |= {"local_model.kernel": kernel, "local_model.bias": bias}
    elif local != "none":
        for ours, theirs in (("fc1", 0), ("fc2", 2)):
            values |= torch_linear(f"local_model.{ours}", case, f"param/local_model.nn.{theirs}")
    if local == "gine":
        values["edge"] = case["param/edge"]
    norms = [name for name in ("norm1_local", "norm1_attn", "norm2") if getattr(module, name) is not None]
    for name in norms:
        values |= norm_of(name, case, f"param/{name}")
    assign(module, values)
    graph = graph_of(case["in/adjacency"], case["in/n_node"])
    training = bool(case["option/training"])
    yield "y", module.block(x, graph, None, KEY if training else None), case["out/y"]
    for name in norms if training else ():
        for own, theirs in (("mean", "running_mean"), ("var", "running_var")):
            yield f"{name}.{theirs}", parameters(module)[f"{name}.{own}"][...], case[f"out/{name}.{theirs}"]


def placing(case, encoding, **options):
    """A layer that maps features and appends an encoding, without weights; and the weights of the map."""
    dim, emb = case["in/x"].shape[1], case["out/y"].shape[1]
    pe_dim = emb - len(case["param/linear_x.weight"])
    options |= dict(encoding=encoding, pe_dim=pe_dim, heads=1)
    return Graphgps(dim, emb, rngs=nnx.Rngs(0), **options), torch_linear("linear_x", case, "param/linear_x")


def rwse(case):
    steps = int(case["option/steps"])
    module, values = placing(case, "random_walk", steps=steps)
    values |= torch_linear("encoding.pe_encoder", case, "param/pe_encoder")
    assign(module, values | norm_of("encoding.raw_norm", case, "param/raw_norm"), partial=True)
    (graph,) = derive([graph_of(case["in/adjacency"])], module.structures)
    yield "landing", graph.structure(Structure("random_walk", dict(steps=steps))).landing, case["out/landing"]
    key = KEY if case["option/training"] else None
    yield "y", module.placed(case["in/x"], graph, None, key), case["out/y"]


def lappe(case):
    vectors, values = case["in/vectors"], case["in/values"]
    module, weights = placing(case, "laplacian", frequencies=vectors.shape[1])
    layers = int(case["option/layers"])
    encoding = type(module.encoding)(module.encoding.layers[-1].out_features, layers=layers, rngs=nnx.Rngs(0))
    named = torch_linear("layers.0", case, "param/linear_A")
    for i in range(1, layers):
        named |= torch_linear(f"layers.{i}", case, f"param/pe_encoder.{2 * i - 1}")
    module.encoding = encoding
    assign(module, weights | prefixed("encoding", named), partial=True)
    graph = graph_of(np.zeros((len(vectors),) * 2))
    (graph,) = derive([graph], module.structures)
    record = graph.structure(module.structures[0])
    valid = ~np.isnan(values)
    held = dataclasses.replace(
        record, vectors=np.nan_to_num(vectors), values=np.nan_to_num(values)[None], valid=valid[None]
    )
    graph = dataclasses.replace(graph, derived={str(module.structures[0]): jax.tree.map(jax.numpy.asarray, held)})
    yield "y", module.placed(case["in/x"], graph, None), case["out/y"]
